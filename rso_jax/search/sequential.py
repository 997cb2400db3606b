"""Sequential search: visit the weights of a leaf one at a time and decide each (Algorithm 1).

For each weight w: shrink it by the weight decay, draw perturbations, evaluate the incumbent
and the candidates on one mini-batch, keep one of them, and go on from there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rso_jax.candidates import count_not_finite, finite_or_inf
from rso_jax.incremental import ColumnView, move
from rso_jax.mesh import DATA, size_of
from rso_jax.search.sweep import accept, take_turn
from rso_jax.search.traversal import Columns, Done, Segment, Sweep, open_view, view_minibatch

PyTree = Any


class _Visited(NamedTuple):
    """What the visits of a segment carry on."""

    column: Array
    """Its weights, flattened."""
    z: PyTree
    """Pre-activation of the column for every mini-batch, if the plan carries it."""
    known: PyTree
    """The incumbent's loss, if the plan reuses it."""
    done: Done


def decide_in_turn(sweep: Sweep, columns: Columns, segment: Segment, done: Done) -> Done:
    """Visit the weights of a segment one after the other and decide each.

    The randomness of a visit depends on the sweep's keys and the visit's number alone.
    """
    at, leaf = columns.first, done.leaf
    column = (leaf[..., at] if leaf.ndim else leaf).reshape(-1)
    z = _open_preactivations(sweep, columns, leaf, column)
    known: PyTree = ()
    if sweep.plan.kept.incumbent:
        view = _open(sweep, columns, leaf, jnp.zeros_like(segment.first))
        weights = column.reshape(leaf.shape[:-1])
        known = sweep.program.loss(view, weights, _preactivation(sweep, view, column, z, 0))
        done = done._replace(not_finite=done.not_finite + count_not_finite(known))

    def visit(number: Array, visited: _Visited) -> _Visited:
        return _visit(sweep, columns, leaf, number, visited)

    begin = _Visited(column, z, known, done)
    column, _, _, done = lax.fori_loop(segment.first, segment.last, visit, begin)
    column = column.reshape(leaf.shape[:-1])
    return done._replace(leaf=leaf.at[..., at].set(column) if leaf.ndim else column)


def _visit(
    sweep: Sweep, columns: Columns, leaf: Array, number: Array, visited: _Visited
) -> _Visited:
    """Decide one weight.

    Args:
        sweep: of the leaf.
        columns: the weight's column, opened.
        leaf: before the segment; what it holds in this column is not read.
        number: of the visit.
        visited: what the visits before came to.
    """
    plan, program, prepared = sweep.plan, sweep.program, sweep.prepared
    column, z_of_all, known, done = visited
    view = _open(sweep, columns, leaf, number)
    z = _preactivation(sweep, view, column, z_of_all, number)
    k = sweep.order[number - columns.first * sweep.leaf.height]
    tried, direction = prepared.candidates[number], program.direction(view, k)

    def loss(weight: Array) -> Array:
        weights = column.at[k].set(weight).reshape(leaf.shape[:-1])
        return program.loss(view, weights, move(z, direction, weight, column[k]))

    scores = plan.evaluate(loss, tried[1:] if plan.kept.incumbent else tried)
    not_finite = done.not_finite + count_not_finite(scores)
    if plan.kept.incumbent:
        scores = jnp.concatenate([known[None], scores])
    scores = finite_or_inf(scores)
    of_visit = jax.random.fold_in(sweep.streams.acceptances, number)
    choice = accept(sweep.pieces, of_visit, scores, prepared.cycle)
    if plan.kept.preactivations:
        directions = _map_stack(
            sweep, columns, leaf, lambda view: program.direction(view, k), at_once=True
        )
        z_of_all = move(z_of_all, directions, tried[choice], column[k])
    return _Visited(
        column=column.at[k].set(tried[choice]),
        z=z_of_all,
        known=scores[choice] if plan.kept.incumbent else (),
        done=done._replace(
            choices=done.choices.at[number].set(choice.astype(jnp.int8)),
            losses=done.losses.at[number].set(scores[choice]),
            not_finite=not_finite,
        ),
    )


def _open(sweep: Sweep, columns: Columns, leaf: Array, number: Array) -> ColumnView:
    """The view of the column on the mini-batch of a visit."""
    view = view_minibatch(sweep, columns, leaf, number)
    return open_view(sweep, columns, view, columns.first, number)


def _preactivation(
    sweep: Sweep, view: ColumnView, column: Array, z_of_all: PyTree, number: Array | int
) -> PyTree:
    """That of the incumbent on the mini-batch of a visit."""
    if sweep.plan.kept.preactivations:
        return take_turn(z_of_all, jnp.asarray(number))
    return sweep.program.preactivation(view, column.reshape(sweep.leaf.form[:-1]))


def _open_preactivations(sweep: Sweep, columns: Columns, leaf: Array, column: Array) -> PyTree:
    """Those of the incumbent on every mini-batch, if the plan carries them."""
    if not sweep.plan.kept.preactivations:
        return ()
    weights = column.reshape(leaf.shape[:-1])
    return _map_stack(sweep, columns, leaf, lambda view: sweep.program.preactivation(view, weights))


def _map_stack(
    sweep: Sweep,
    columns: Columns,
    leaf: Array,
    function: Callable[[ColumnView], PyTree],
    at_once: bool = False,
) -> PyTree:
    """What a function makes of the column on every mini-batch, [M, ...].

    Args:
        sweep: of the leaf.
        columns: the column, opened and kept.
        leaf: before the segment.
        function: of a view.
        at_once: devices that share mini-batches add up once for all of them, instead of for each.
    """
    incumbent = sweep.variables_with(leaf)

    def of_one(batch: PyTree, prefix: PyTree, residual: PyTree) -> PyTree:
        return function(ColumnView(incumbent, batch, prefix, residual, columns.first))

    stacks = columns.batches, columns.prefixes, columns.residuals
    if at_once and size_of(sweep.plan.mesh, DATA) > 1 and sweep.plan.at_once > 1:
        return jax.vmap(of_one)(*stacks)
    return lax.map(lambda one: of_one(*one), stacks)
