"""Column programs: what a candidate costs once all that it cannot change is computed.

``column_program`` traces a loss once for a leaf and cuts it into functions::

    prefix    = program.prefix(params, batch)            once per mini-batch
    column    = program.column(params, batch, prefix, o) once per column, mini-batch
    view      = ColumnView(params, batch, prefix, column, o)
    z         = program.preactivation(view, weights)
    direction = program.direction(view, k)
    loss      = program.loss(view, weights, z)           once per candidate

``weights`` are those of column ``o`` of the leaf. None of the functions reads what ``params`` holds
in that column; ``prefix`` reads nothing of the leaf. ``z`` is linear in the weights: the weight at
``k``, in row-major order, changed by d changes ``z`` by d times ``direction``. Where no such z is
found it is empty, and ``loss`` starts from the weights.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import ClosedJaxpr

from rso_jax.incremental.convolution_forms import with_fast_convolutions
from rso_jax.incremental.examples_last import hold_examples_last
from rso_jax.incremental.staging import Portion, of_equations, run, split
from rso_jax.incremental.tracing import TracedColumn, trace_column

PyTree = Any
Residuals = tuple[Array, ...]


class ColumnView(NamedTuple):
    """A column of a leaf on one mini-batch: from where its candidates are evaluated."""

    params: PyTree
    """The incumbent; what it holds in the column is not read."""
    batch: PyTree
    """One mini-batch."""
    prefix: Residuals
    """What no weight of the leaf touches."""
    column: Residuals
    """What no weight of the column touches."""
    index: Array  # type: ignore[assignment]  # which tuples have as a method
    """Of the column: its place along the leaf's last axis."""


class ColumnProgram(NamedTuple):
    """A loss as a function of one column of one leaf, in stages."""

    whole: Callable[[PyTree, PyTree], Array]
    """``(params, batch)``: the loss itself."""
    prefix: Callable[[PyTree, PyTree], Residuals]
    """``(params, batch)``: all that no weight of the leaf touches."""
    column: Callable[[PyTree, PyTree, Residuals, Array], Residuals]
    """``(params, batch, prefix, index)``: all that no weight of that column touches."""
    preactivation: Callable[[ColumnView, Array], Residuals]
    """``(view, weights)``: what these weights enter linearly."""
    direction: Callable[[ColumnView, Array], Residuals]
    """``(view, k)``: what a change of 1 of weight ``k`` adds to it."""
    loss: Callable[[ColumnView, Array, Residuals], Array]
    """``(view, weights, preactivation)``."""
    examples_last: bool = False
    """Whether pre-activations and directions have examples along their last axis."""

    def view(
        self, params: PyTree, batch: PyTree, index: Array, prefix: Residuals | None = None
    ) -> ColumnView:
        """The view of a column, its residuals computed.

        Args:
            params: pytree of the structure that the program was made for.
            batch: one mini-batch, likewise.
            index: of the column.
            prefix: of this mini-batch, where it is known already.
        """
        known = self.prefix(params, batch) if prefix is None else prefix
        return ColumnView(params, batch, known, self.column(params, batch, known, index), index)


def move(z: Residuals, direction: Residuals, new: Array, old: Array) -> Residuals:
    """The pre-activations after one weight has changed.

    Where what the weight is multiplied by is infinite, so is the result, and of what it was before
    nothing is left to subtract.

    Args:
        z: pre-activations of the column.
        direction: of the weight.
        new: its value.
        old: its value before.
    """

    def move_one(z: Array, along: Array) -> Array:
        to, back = new.astype(z.dtype), old.astype(z.dtype)
        infinite = to * along + jnp.where(jnp.isnan(z), z, 0)
        return jnp.where(jnp.isfinite(along), z + (to - back) * along, infinite)

    return jax.tree.map(move_one, z, direction)


def column_program(
    loss_fn: Callable[[PyTree, PyTree], Array],
    params: PyTree,
    batch: PyTree,
    leaf_index: int,
    *,
    from_incumbent: bool = False,
    to_products: bool = False,
    twice: tuple[PyTree, PyTree] | None = None,
) -> ColumnProgram:
    """Stage a loss for the columns of one leaf.

    A column is what feeds one output: the leaf with its last axis fixed. A leaf of one axis has
    columns of one scalar; a scalar leaf is one column.

    Args:
        loss_fn: ``loss_fn(params, batch)``, a scalar; any JAX function.
        params: pytree of arrays or ``jax.ShapeDtypeStruct``.
        batch: one mini-batch, likewise. The program is for these shapes.
        leaf_index: place of the leaf among the flattened parameters.
        from_incumbent: whether what ``params`` holds in the column is what candidates are compared
            with and may be read: the prefix is then a forward pass, and a column costs its share of
            what follows only. The residuals hold for these very weights.
        to_products: whether pre-activations are what activations see: the results of products, of
            looking up, and what is added to them or scales them, though what follows is linear too.
            They are linear in the weights but for what is added.
        twice: parameters and a mini-batch of twice the examples, to tell where these lie:
            pre-activations, and what follows from them, then have them along their last axis, where
            that can be told.
    """

    def trace(params: PyTree, batch: PyTree) -> TracedColumn:
        return trace_column(
            loss_fn,
            params,
            batch,
            leaf_index,
            from_incumbent=from_incumbent,
            to_products=to_products,
        )

    return stage_column(trace(params, batch), None if twice is None else trace(*twice))


def stage_column(one: TracedColumn, twice: TracedColumn | None = None) -> ColumnProgram:
    """Cut what was traced of a column into stages.

    Args:
        one: for a mini-batch.
        twice: for one of twice the examples; as of ``column_program``.
    """
    count, traced = one.preactivations, with_fast_convolutions(one.traced)
    laid_out = None
    if twice is not None:
        known, more = len(traced.jaxpr.invars) - 3 - count, with_fast_convolutions(twice.traced)
        laid_out = hold_examples_last(traced, more, known, known + 1, count)
    staged = _cut(laid_out or traced, one.leaf_index, count, one.from_incumbent)
    return ColumnProgram(
        whole=one.loss_fn,
        prefix=partial(_prefix, staged),
        column=partial(_column, staged),
        preactivation=partial(_preactivation, staged),
        direction=partial(_direction, staged),
        loss=partial(_loss, staged),
        examples_last=laid_out is not None,
    )


class _Staged(NamedTuple):
    """A traced loss of one column, cut into stages, and the variables of what it takes."""

    leaf_index: int
    arrays: list[Any]
    """All leaves of parameters and batch but the leaf, then the leaf."""
    index: Any
    weights: Any
    place: Any
    """Which weight a direction is of."""
    z: list[Any]
    prefix: Portion
    column: Portion
    preactivation: Portion
    direction: Portion
    loss: Portion


def _cut(traced: ClosedJaxpr, leaf_index: int, count: int, from_incumbent: bool) -> _Staged:
    """Cut ``(*arrays, index, weights, place, *z) -> (loss, *z of the weights, *direction)``.

    Args:
        traced: that function.
        leaf_index: place of the leaf among the flattened parameters.
        count: how many pre-activations there are.
        from_incumbent: whether all of the leaf is known before its columns are.
    """
    *inputs, index, weights, place = traced.jaxpr.invars[: len(traced.jaxpr.invars) - count]
    leaf_at = 0 if from_incumbent else 1
    known_at = [0] * (len(inputs) - 1) + [leaf_at, 1, 2, 2] + [2] * count
    first, second, last = split(traced, known_at)
    # What has effects, as a callback, happens with the loss: once a candidate.
    pure = [eqn for eqn in last.eqns if not eqn.effects]
    return _Staged(
        leaf_index=leaf_index,
        arrays=inputs,
        index=index,
        weights=weights,
        place=place,
        z=traced.jaxpr.invars[len(inputs) + 3 :],
        prefix=first,
        column=second,
        preactivation=of_equations(pure, last.gives[1 : count + 1], last.constants),
        direction=of_equations(pure, last.gives[count + 1 :], last.constants),
        loss=of_equations(last.eqns, last.gives[:1], last.constants),
    )


def _prefix(staged: _Staged, params: PyTree, batch: PyTree) -> Residuals:
    return tuple(run(staged.prefix, _values(staged, params, batch)))


def _column(
    staged: _Staged, params: PyTree, batch: PyTree, prefix: Residuals, index: Array
) -> Residuals:
    return tuple(run(staged.column, _values_at(staged, params, batch, prefix, index)))


def _preactivation(staged: _Staged, view: ColumnView, weights: Array) -> Residuals:
    return tuple(run(staged.preactivation, _values_of(staged, view) | {staged.weights: weights}))


def _direction(staged: _Staged, view: ColumnView, k: Array) -> Residuals:
    at = {staged.place: jnp.asarray(k, jnp.int32)}
    return tuple(run(staged.direction, _values_of(staged, view) | at))


def _loss(staged: _Staged, view: ColumnView, weights: Array, z: Residuals) -> Array:
    given = dict(zip(staged.z, z, strict=True)) | {staged.weights: weights}
    (value,) = run(staged.loss, _values_of(staged, view) | given)
    return value


def _values(staged: _Staged, params: PyTree, batch: PyTree) -> dict[Any, Array]:
    arrays = jax.tree.leaves((params, batch))
    leaf = arrays.pop(staged.leaf_index)
    return dict(zip(staged.arrays, [*arrays, leaf], strict=True))


def _values_at(
    staged: _Staged, params: PyTree, batch: PyTree, prefix: Residuals, index: Array
) -> dict[Any, Array]:
    known = dict(zip(staged.prefix.gives, prefix, strict=True))
    at = {staged.index: jnp.asarray(index, jnp.int32)}
    return _values(staged, params, batch) | known | at


def _values_of(staged: _Staged, view: ColumnView) -> dict[Any, Array]:
    residuals = dict(zip(staged.column.gives, view.column, strict=True))
    return _values_at(staged, view.params, view.batch, view.prefix, view.index) | residuals
