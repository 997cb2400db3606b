"""Leaves: the arrays of a parameter pytree, their layers, and where the loss meets them."""

import math
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from rso_jax.errors import UserError
from rso_jax.incremental.jaxprs import inner_jaxprs
from rso_jax.search.columns import (
    Axes,
    Outputs,
    as_stored,
    axes_as_told,
    column_form,
    in_columns,
    stored_in_columns,
)
from rso_jax.search.layout import axes_in
from rso_jax.trees import choose, holds_weights, named_leaves

PyTree = Any
LossFn = Callable[[PyTree, PyTree], Array]


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


def loss_of_columns(loss_fn: LossFn, leaf: Leaf) -> LossFn:
    """The loss as a function of parameters with a leaf in its column form."""
    if stored_in_columns(leaf.axes):
        return loss_fn

    def loss(tree: PyTree, batch: PyTree) -> Array:
        arrays, treedef = jax.tree.flatten(tree)
        arrays[leaf.position] = as_stored(arrays[leaf.position], leaf.axes, leaf.shape)
        return loss_fn(jax.tree.unflatten(treedef, arrays), batch)

    return loss


class SegmentSize(NamedTuple):
    """How many visits in a row belong together: part of a column, or some whole columns.

    A sweep may be interrupted between segments without changing a bit.
    """

    columns: int
    weights: int
    """Of each of these columns."""

    def boundaries(self, leaf: Leaf) -> np.ndarray:
        """Visits of the leaf before which a segment begins, ascending, and their number."""
        begins = np.arange(0, leaf.visits, self.columns * leaf.height)[:, None]
        within = np.arange(0, leaf.height, self.weights)
        return np.append((begins + within).ravel(), leaf.visits)

    def in_a_column(self, leaf: Leaf) -> int:
        """Segments of a column, 1 where a segment has several."""
        return math.ceil(leaf.height / self.weights)


def segment_of_column(leaf: Leaf, most: int) -> SegmentSize:
    """At most so many weights of a column, such that columns are divided evenly."""
    return SegmentSize(1, _evenly(leaf.height, most))


def segment_of_leaf(leaf: Leaf, most: int) -> SegmentSize:
    """At most so many weights: part of a column or, where columns are shorter, several."""
    if most < 2 * leaf.height:
        return segment_of_column(leaf, most)
    return SegmentSize(_evenly(leaf.columns, most // leaf.height), leaf.height)


def _evenly(count: int, most: int) -> int:
    return math.ceil(count / math.ceil(count / most))


def searched_leaves(
    params: PyTree, searched: Callable[[str], bool] | PyTree | None = None
) -> list[bool]:
    """Which leaves of the parameters a search changes, in flattening order.

    Args:
        params: pytree of arrays or ``jax.ShapeDtypeStruct``.
        searched: which may be, as ``chosen`` takes it; those of floating point are.

    Raises:
        UserError: complex numbers among them, or nothing.
    """
    named = named_leaves(params)
    wanted = choose("searched", searched, params)
    for (path, array), want in zip(named.items(), wanted, strict=True):
        if want and jnp.issubdtype(jnp.result_type(array), jnp.complexfloating):
            raise UserError(f"{path} is complex; pass its real and imaginary parts instead")
    found = [want and holds_weights(a) for a, want in zip(named.values(), wanted, strict=True)]
    if not any(map(holds_weights, named.values())):
        raise UserError("params holds no floating-point array, so there is nothing to search")
    if not any(found):
        raise UserError(
            "searched leaves out every floating-point array, so there is nothing to search; "
            f"arrays are {', '.join(named)}"
        )
    return found


def mark_searched(params: PyTree, searched: Callable[[str], bool] | PyTree | None = None) -> PyTree:
    """Which leaves a search changes, as a pytree of booleans; arguments of ``searched_leaves``."""
    found = searched_leaves(params, searched)
    return jax.tree.unflatten(jax.tree.structure(params), found)


def describe_leaves(
    loss_fn: LossFn,
    params: PyTree,
    batch: PyTree,
    searched: Callable[[str], bool] | PyTree | None = None,
    outputs: Outputs | None = None,
) -> tuple[Leaf, ...]:
    """The searched leaves of ``params``, their layers ranked by first use in the loss.

    A layer is the node that arrays hang from (``conv1`` of ``conv1/kernel``). Arrays at the
    root, or a tree with a single such node, are layers of their own. The rank comes from
    tracing the loss: the first operation where a parameter meets something that depends on
    the batch. A pytree flattens in the order of its keys' names, which says nothing about
    the network; the trace does. It says too what the axes of an array are for.

    Args:
        loss_fn: ``loss_fn(params, batch)``, a scalar.
        params: pytree of arrays.
        batch: one mini-batch, arrays or ``jax.ShapeDtypeStruct``.
        searched: which leaves are, as ``searched_leaves`` takes it.
        outputs: by path the axes of arrays that hold their outputs, where the trace is wrong.

    Raises:
        UserError: nothing to search, or ``outputs`` of no array.
    """
    named = named_leaves(params)
    wanted = searched_leaves(params, searched)
    traced = jax.make_jaxpr(loss_fn)(params, batch)
    uses = _first_uses(traced, len(named))
    shapes = {path: np.shape(array) for path, array in named.items()}
    found = dict(zip(named, axes_in(traced, list(shapes.values())), strict=True))
    axes = axes_as_told(found, shapes, outputs or {})
    layers = _layers(list(named))

    first_use: dict[str, int] = {}
    for layer, use in zip(layers, uses, strict=True):
        first_use[layer] = min(use, first_use.get(layer, use))
    rank = {layer: i for i, layer in enumerate(sorted(first_use, key=lambda k: first_use[k]))}

    described = zip(named.items(), layers, wanted, strict=True)
    return tuple(
        Leaf(path, layer, i, np.shape(array), jnp.result_type(array), rank[layer], axes[path])
        for i, ((path, array), layer, is_searched) in enumerate(described)
        if is_searched
    )


def _layers(paths: list[str]) -> list[str]:
    parents = [path.rpartition("/")[0] for path in paths]
    if len(set(parents)) == 1:
        return paths
    return [parent or path for parent, path in zip(parents, paths, strict=True)]


def _first_uses(traced: ClosedJaxpr, parameters: int) -> list[int]:
    """For each of the first ``parameters`` inputs, when it first meets batch-dependent data."""
    never = 2**62
    first = [never] * parameters
    clock = 0

    class Value(NamedTuple):
        batch: bool  # depends on the batch
        waiting: frozenset[int]  # parameters it depends on that have not met the batch yet

    constant = Value(False, frozenset())

    def walk(jaxpr: Jaxpr, inputs: list[Value]) -> None:
        nonlocal clock
        values: dict[Any, Value] = defaultdict(lambda: constant)
        values.update(zip(jaxpr.invars, inputs, strict=True))
        for eqn in jaxpr.eqns:
            operands = [constant if isinstance(v, Literal) else values[v] for v in eqn.invars]
            held = inner_jaxprs(eqn)
            if len(held) == 1 and len(held[0].jaxpr.invars) == len(operands):
                walk(held[0].jaxpr, operands)
            clock += 1
            meets_batch = any(v.batch for v in operands)
            waiting = frozenset().union(*(v.waiting for v in operands))
            if meets_batch:
                for i in waiting:
                    first[i] = min(first[i], clock)
                waiting = frozenset()
            for var in eqn.outvars:
                values[var] = Value(meets_batch, waiting)

    inputs = [
        Value(False, frozenset([i])) if i < parameters else Value(True, frozenset())
        for i in range(len(traced.jaxpr.invars))
    ]
    walk(traced.jaxpr, inputs)
    return first
