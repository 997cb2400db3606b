"""Curves of any number that all runs have."""

import pytest

from rso_jax import UserError
from rso_jax.plots import plot_runs

COSTS = {"updates_per_weight": 1.0, "image_evaluations": 100}


def lines(**numbers):
    """Of two cycles."""
    return [{"cycle": cycle, **COSTS, **numbers} for cycle in (1, 2)]


def test_any_number_is_drawn_the_same_each_time(tmp_path):
    runs = {"a": lines(test_error=0.5), "b": lines(test_error=0.25, train_loss=None)}
    for name in ("first.png", "second.png"):
        plot_runs(runs, tmp_path / name, number="test_error")
    first, second = (tmp_path / name for name in ("first.png", "second.png"))
    assert first.read_bytes() == second.read_bytes()


def test_shares_are_in_percent_and_names_in_words(tmp_path):
    for number, said in (("test_accuracy", "test accuracy (%)"), ("test_error", "test error")):
        out = tmp_path / "curves.svg"
        plot_runs({"a": lines(**{number: 0.5})}, out, number=number)
        assert f"<!-- {said} -->" in out.read_text()


def test_a_cycle_whose_number_was_not_finite_is_a_gap(tmp_path):
    out = tmp_path / "curves.png"
    plot_runs({"a": [*lines(test_loss=0.5), *lines(test_loss=None)]}, out, number="test_loss")
    assert out.exists()


def test_a_number_that_a_run_lacks(tmp_path):
    runs = {"a": lines(test_accuracy=0.5, loss=0.1), "b": lines(test_error=0.5, loss=0.1)}
    with pytest.raises(UserError, match=r"b has no test_accuracy .* all runs have .*loss"):
        plot_runs(runs, tmp_path / "curves.png")
    assert not any(tmp_path.iterdir())
