"""What a data set is, and what it must satisfy."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rso_jax.errors import UserError


class Dataset(NamedTuple):
    """Training and test examples with their labels."""

    name: str
    x_train: NDArray[Any]
    """[N, ...], uint8 in 0..255 or float32."""
    y_train: NDArray[Any]
    """[N] int32, in [0, classes)."""
    x_test: NDArray[Any]
    """[K, ...], of the type and example shape of ``x_train``."""
    y_test: NDArray[Any]
    """[K] int32, in [0, classes)."""
    classes: int


def check(dataset: Dataset) -> Dataset:
    """Return ``dataset`` if a network can be trained on it.

    Raises:
        UserError: something that is no array, an empty split, unequal lengths or example shapes, a
            type other than uint8 or float32, a value that is not finite, a label that is no class.
    """
    for name in ("x_train", "y_train", "x_test", "y_test"):
        array = getattr(dataset, name)
        if not hasattr(array, "dtype"):
            kind = type(array).__name__
            raise UserError(f"{dataset.name}: {name} is a {kind}; pass a numpy array")
    whole = isinstance(dataset.classes, int | np.integer) and not isinstance(dataset.classes, bool)
    if not whole or not 1 <= dataset.classes <= np.iinfo(np.int32).max:
        raise UserError(
            f"{dataset.name}: {dataset.classes} classes; number the labels from 0 without gaps"
        )
    _check_split(dataset, "train", dataset.x_train, dataset.y_train)
    _check_split(dataset, "test", dataset.x_test, dataset.y_test)
    train, test = dataset.x_train, dataset.x_test
    if train.shape[1:] != test.shape[1:]:
        raise UserError(
            f"{dataset.name}: examples of x_train have shape {train.shape[1:]}, of x_test "
            f"{test.shape[1:]}; give both the same shape"
        )
    if train.dtype != test.dtype:  # uint8 is divided by 255 later, float32 is not
        raise UserError(
            f"{dataset.name}: x_train is {train.dtype}, x_test is {test.dtype}; "
            "save both in the same type and range"
        )
    return dataset


def _check_split(dataset: Dataset, split: str, x: NDArray[Any], y: NDArray[Any]) -> None:
    name = dataset.name
    if x.ndim < 2 or y.ndim != 1:
        raise UserError(
            f"{name}: x_{split} has shape {x.shape} and y_{split} {y.shape}; "
            "examples must be [N, ...] and labels [N]"
        )
    if len(x) != len(y):
        raise UserError(
            f"{name}: x_{split} has {len(x)} examples but y_{split} has {len(y)} labels; "
            "give each example one label"
        )
    if x.size == 0:
        raise UserError(f"{name}: x_{split} has shape {x.shape}, which is empty; give it examples")
    if x.dtype not in (np.uint8, np.float32):
        raise UserError(f"{name}: x_{split} is {x.dtype}; save it as uint8 in 0..255 or as float32")
    if x.dtype == np.float32 and not np.isfinite(x).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise UserError(
            f"{name}: x_{split} is {x[index]} at {list(index)}; replace values that are not "
            "finite as float32"
        )
    if y.dtype.kind not in "iu":
        raise UserError(f"{name}: y_{split} is {y.dtype}; labels must be whole numbers from 0")
    wrong = np.flatnonzero((y < 0) | (y >= dataset.classes))
    if wrong.size:
        raise UserError(
            f"{name}: y_{split} is {y[wrong[0]]} at {wrong[0]}; labels must be in "
            f"0..{dataset.classes - 1}"
        )
