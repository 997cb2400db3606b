"""The real data sets, where a prepared folder is at hand."""

import os
from pathlib import Path

import numpy as np
import pytest

from rso_jax.data import load
from rso_jax.data.cache import cache_file, read_cache
from rso_jax.data.locations import find_prepared

FOLDER = Path(
    os.environ.get("RSO_TEST_TFDS") or Path(__file__).resolve().parents[3] / "shared/tfds"
)
# Counts and means that are published for these data sets.
FACTS = {
    "mnist": ((60000, 28, 28, 1), (5923, 980), [0.1307]),
    "fashion_mnist": ((60000, 28, 28, 1), (6000, 1000), [0.2860]),
    "cifar10": ((50000, 32, 32, 3), (5000, 1000), [0.4914, 0.4822, 0.4465]),
}


@pytest.mark.parametrize("name", FACTS)
def test_counts_types_and_means(name, tmp_path):
    if not (FOLDER / name).is_dir():
        pytest.skip(f"no {name} in {FOLDER}")
    shape, zeros, means = FACTS[name]
    data = load(name, FOLDER, tmp_path)
    assert (data.name, data.classes) == (name, 10)
    assert data.x_train.shape == shape and data.x_test.shape == (10000, *shape[1:])
    assert data.x_train.dtype == data.x_test.dtype == np.uint8
    assert data.y_train.dtype == data.y_test.dtype == np.int32
    assert ((data.y_train == 0).sum(), (data.y_test == 0).sum()) == zeros
    # A copy that went through JPEG has them too, to this precision.
    np.testing.assert_allclose(data.x_train.mean((0, 1, 2)) / 255, means, atol=1e-3)

    kept = read_cache(cache_file(find_prepared(name, FOLDER), tmp_path))
    assert kept is not None
    for key, array in kept.items():
        np.testing.assert_array_equal(array, getattr(data, key), strict=True)
