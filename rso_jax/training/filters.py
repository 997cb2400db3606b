"""Filters of a first layer, drawn as one picture."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rso_jax.trees import named_leaves

PyTree = Any

_TILE = 24
"""Pixels that a filter is enlarged to, at least."""


def first_filters(params: PyTree) -> tuple[str, NDArray[Any]] | None:
    """The filters that see images: path of their leaf, and they themselves, [filters, h, w, c].

    They are the first leaf [h, w, 1 or 3, filters]; where none has four axes, the first
    [pixels, units] is taken if so many pixels make a square image, in one colour or in three.

    Args:
        params: of a network, features last.

    Returns:
        None where there are no such.
    """
    leaves = named_leaves(params)
    kernels = {name: a for name, a in leaves.items() if np.ndim(a) == 4}
    for name, kernel in kernels.items():
        if np.shape(kernel)[2] in (1, 3):
            return name, np.moveaxis(np.asarray(kernel, np.float32), -1, 0)
    matrices = {} if kernels else {name: a for name, a in leaves.items() if np.ndim(a) == 2}
    for name, matrix in list(matrices.items())[:1]:
        for colours in (1, 3):
            side = math.isqrt(np.shape(matrix)[0] // colours)
            if side > 1 and side * side * colours == np.shape(matrix)[0]:
                units = np.asarray(matrix, np.float32).T
                return name, units.reshape(-1, side, side, colours)
    return None


def draw_filters(filters: NDArray[Any]) -> NDArray[np.uint8]:
    """One picture [H, W, c] of filters [filters, h, w, c], grey where a weight is 0.

    All share a scale, from minus to plus the largest weight among them, and what is not finite is
    grey; a black line is between them.
    """
    count, height, width, colours = filters.shape
    finite = np.where(np.isfinite(filters), filters, 0)
    largest = max(float(np.abs(finite).max()), 1e-30)
    grey = np.uint8(np.round(127.5 + 127.5 * finite / largest))
    times = math.ceil(_TILE / max(height, width))
    tiles = grey.repeat(times, axis=1).repeat(times, axis=2)
    tiles = np.pad(tiles, ((0, 0), (0, 1), (0, 1), (0, 0)))
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    tiles = np.pad(tiles, ((0, rows * columns - count), (0, 0), (0, 0), (0, 0)))
    grid = tiles.reshape(rows, columns, *tiles.shape[1:]).swapaxes(1, 2)
    return grid.reshape(rows * tiles.shape[1], columns * tiles.shape[2], colours)
