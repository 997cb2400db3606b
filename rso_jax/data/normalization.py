"""The two ways in which inputs are brought to a common range."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rso_jax.data.dataset import Dataset
from rso_jax.errors import UserError

WAYS = ("center", "standardize")
CHUNK = 1000


def normalize(dataset: Dataset, how: str) -> Dataset:
    """Return ``dataset`` with centred or standardised float32 inputs.

    uint8 is first divided by 255; floats are taken as they are. Mean and standard deviation are
    those of the training examples: one for each channel of [N, H, W, C], one for each feature of
    [N, D], otherwise one.

    Args:
        dataset: as loaded.
        how: "center" subtracts the mean (the authors' MXNet script); "standardize" also divides
            by the standard deviation (arXiv 2005.05955), by 1 where that is zero.

    Raises:
        UserError: another ``how``.
    """
    if how not in WAYS:
        raise UserError(f"unknown normalization {how!r}; choose one of {', '.join(WAYS)}")
    x_train, x_test = _to_unit(dataset.x_train), _to_unit(dataset.x_test)
    mean = _mean(x_train).astype(np.float32)
    x_train -= mean
    x_test -= mean
    if how == "standardize":
        deviation = np.sqrt(_mean(x_train, power=2)).astype(np.float32)
        deviation[deviation == 0] = 1
        x_train /= deviation
        x_test /= deviation
    return dataset._replace(x_train=x_train, x_test=x_test)


def _to_unit(images: NDArray[Any]) -> NDArray[np.float32]:
    """Return a new float32 array, which the caller may change."""
    if images.dtype == np.uint8:
        return np.divide(images, np.float32(255), dtype=np.float32)
    return images.astype(np.float32)


def _mean(images: NDArray[np.float32], power: int = 1) -> NDArray[np.float64]:
    """Mean of a power, in float64 a chunk at a time: one copy of the data is enough."""
    kept = images.ndim - 1 if images.ndim == 2 or images.ndim >= 4 else None
    axes = tuple(axis for axis in range(images.ndim) if axis != kept)
    total = sum(
        np.sum(images[i : i + CHUNK].astype(np.float64) ** power, axis=axes, keepdims=True)
        for i in range(0, len(images), CHUNK)
    )
    result: NDArray[np.float64] = total / np.prod([images.shape[axis] for axis in axes])
    return result
