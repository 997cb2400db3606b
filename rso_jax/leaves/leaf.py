"""A leaf: one array of a parameter pytree, and the loss as a function of its columns."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
from jax import Array

from rso_jax.leaves.columns import (
    Axes,
    as_stored,
    column_form,
    in_columns,
    stored_in_columns,
)

PyTree = Any
LossFn = Callable[[PyTree, PyTree], Array]
R = TypeVar("R")


class Leaf(NamedTuple):
    """One searched array of the parameters."""

    path: str
    """Keys from the root, joined by ``/``: ``conv1/kernel``."""
    layer: str
    """Path of the layer it belongs to: the arrays that hang from the same node."""
    position: int
    """Its place among all leaves of the flattened parameters."""
    shape: tuple[int, ...]
    dtype: Any
    depth: int
    """Rank of its layer by the layer's first use in the loss, 0 the earliest."""
    axes: Axes
    """What its axes are for."""

    @property
    def visits(self) -> int:
        """Weights in the leaf: a sweep visits each once."""
        return math.prod(self.shape)

    @property
    def form(self) -> tuple[int, ...]:
        """Shape of its column form, in which it is searched."""
        return column_form(self.shape, self.axes)

    @property
    def columns(self) -> int:
        """Columns in the leaf."""
        return self.form[-1] if self.form else 1

    @property
    def height(self) -> int:
        """Weights of a column."""
        return math.prod(self.form[:-1])

    @property
    def stacked(self) -> int:
        """Arrays of which it is a stack; 1 if it is none."""
        return math.prod(self.shape[axis] for axis in self.axes.stacked)


def sort_last_to_first(leaves: Iterable[Leaf]) -> list[Leaf]:
    """Layers from the last used to the first; in a layer kernels, then biases, then scales.

    The paper's order, and the authors' script's, where the batch norm's shift (beta, ``bias`` in
    Flax) comes before its scale (gamma).
    """
    return sorted(leaves, key=lambda leaf: (-leaf.depth, *within_layer(leaf)))


def within_layer(leaf: Leaf) -> tuple[int, str]:
    """What arrays of a layer are sorted by."""
    return (-len(leaf.shape), leaf.path)


def with_columns(tree: PyTree, leaf: Leaf) -> PyTree:
    """Parameters, or variables that begin with them, with a leaf in its column form.

    Args:
        tree: arrays or ``jax.ShapeDtypeStruct``, as they are stored.
        leaf: one of them.
    """
    if stored_in_columns(leaf.axes):
        return tree
    arrays, treedef = jax.tree.flatten(tree)
    stored, turn = arrays[leaf.position], partial(in_columns, axes=leaf.axes)
    known = isinstance(stored, jax.ShapeDtypeStruct)
    arrays[leaf.position] = jax.eval_shape(turn, stored) if known else turn(stored)
    return jax.tree.unflatten(treedef, arrays)


def loss_of_columns(
    loss_fn: Callable[[PyTree, PyTree], R], leaf: Leaf
) -> Callable[[PyTree, PyTree], R]:
    """The loss, or losses, as a function of parameters with a leaf in its column form."""
    if stored_in_columns(leaf.axes):
        return loss_fn

    def loss(tree: PyTree, batch: PyTree) -> R:
        arrays, treedef = jax.tree.flatten(tree)
        arrays[leaf.position] = as_stored(arrays[leaf.position], leaf.axes, leaf.shape)
        return loss_fn(jax.tree.unflatten(treedef, arrays), batch)

    return loss
