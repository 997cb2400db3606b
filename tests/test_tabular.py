"""The experiment on tables: its folds, and its tables in the documentation."""

import importlib
from pathlib import Path

import numpy as np
import pytest

TOP = Path(__file__).parents[1]


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(TOP / "experiments")
    return importlib.import_module


def test_no_test_example_is_trained_on(load):
    tabular = load("tabular_folds")
    rng = np.random.default_rng(0)
    x = np.c_[np.arange(57), 5 * rng.normal(size=57) + 3, np.ones(57)]
    y = np.arange(57) % 3
    folds = tabular.split(x, y)
    count, size, _ = folds.x.shape
    assert count == 25 and 44 <= size <= 46 and (folds.tested.reshape(5, 5, 57).sum(1) == 1).all()
    np.testing.assert_allclose(folds.x.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(folds.x[..., :2].std(1), 1, rtol=1e-4)
    for i in range(count):
        rows = [int(np.argmin(abs(folds.x_all[i, :, 0] - value))) for value in folds.x[i, :, 0]]
        assert len(set(rows)) == size and not folds.tested[i, rows].any()
        np.testing.assert_array_equal(folds.y[i], y[rows])
    assert ((1 - folds.fitted).sum(0) == 1).all(), "an inner fold holds each example out once"


def test_the_documentation_shows_what_was_measured(load):
    tables = load("tabular_tables")
    page = (TOP / "docs" / "losses.md").read_text()
    assert tables.errors_table() in page and tables.objectives_table() in page
