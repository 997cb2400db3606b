"""Sequential search: visit the weights of a leaf one at a time and decide each (Algorithm 1).

For each weight w: shrink it by the weight decay, draw perturbations, evaluate the incumbent
and the candidates on one mini-batch, keep one of them, and go on from there.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rso_jax.candidates import count_not_finite, finite_or_inf
from rso_jax.incremental import ColumnView, move
from rso_jax.search.sweep import accept, put_turn, take_turn
from rso_jax.search.traversal import Columns, Done, Segment, Sweep, open_view, view_minibatch

PyTree = Any


# Weights whose changes enter a pre-activation in one pass over it.
AT_ONE_PASS = 4


class _Visited(NamedTuple):
    """What the visits of a segment carry on."""

    column: Array
    """Its weights, flattened."""
    z: PyTree
    """Pre-activation of the column for every mini-batch as of its last turn, if the plan carries
    it."""
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
        first = take_turn(z, 0) if z else sweep.program.preactivation(view, weights)
        known = sweep.program.loss(view, weights, first)
        done = done._replace(not_finite=done.not_finite + count_not_finite(known))

    def visit(number: Array, visited: _Visited) -> _Visited:
        return _visit(sweep, columns, leaf, column, segment.first, number, visited)

    begin = _Visited(column, z, known, done)
    column, _, _, done = lax.fori_loop(segment.first, segment.last, visit, begin)
    column = column.reshape(leaf.shape[:-1])
    return done._replace(leaf=leaf.at[..., at].set(column) if leaf.ndim else column)


def _visit(
    sweep: Sweep,
    columns: Columns,
    leaf: Array,
    begun: Array,
    first: Array,
    number: Array,
    visited: _Visited,
) -> _Visited:
    """Decide one weight.

    Args:
        sweep: of the leaf.
        columns: the weight's column, opened.
        leaf: before the segment; what it holds in this column is not read.
        begun: the column before the segment.
        first: visit of the segment.
        number: of the visit.
        visited: what the visits before came to.
    """
    plan, program, prepared = sweep.plan, sweep.program, sweep.prepared
    column, z_of_all, known, done = visited
    view = _open(sweep, columns, leaf, number)
    if plan.kept.preactivations:
        z = _catch_up(sweep, columns, leaf, begun, first, number, visited)
        z_of_all = put_turn(z_of_all, number, z)
    else:
        z = program.preactivation(view, column.reshape(leaf.shape[:-1]))
    k = _place(sweep, columns, number)
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


def _place(sweep: Sweep, columns: Columns, number: Array) -> Array:
    """Where in its column the weight of a visit is."""
    return sweep.order[number - columns.first * sweep.leaf.height]


def _catch_up(
    sweep: Sweep,
    columns: Columns,
    leaf: Array,
    begun: Array,
    first: Array,
    number: Array,
    visited: _Visited,
) -> PyTree:
    """The pre-activation on the mini-batch of a visit, which others had their turn before.

    It is as of this mini-batch's last turn: what the visits since then have changed is added.

    Args:
        sweep: of the leaf.
        columns: the column, opened.
        leaf: before the segment.
        begun: the column before the segment.
        first: visit of the segment.
        number: of the visit.
        visited: what the visits before came to.
    """
    since = jnp.maximum(first, number - len(jax.tree.leaves(visited.z)[0]))
    z = take_turn(visited.z, number)
    return _change(sweep, columns, leaf, number, z, since, number, begun, visited.column)


def _change(
    sweep: Sweep,
    columns: Columns,
    leaf: Array,
    turn: Array,
    z: PyTree,
    first: Array,
    last: Array,
    old: Array,
    new: Array,
) -> PyTree:
    """The pre-activation on a mini-batch after some weights have changed.

    Args:
        sweep: of the leaf.
        columns: the column, opened.
        leaf: before the segment.
        turn: visit whose mini-batch it is.
        z: before.
        first: visit of the first of these weights.
        last: one past that of the last.
        old: the column before.
        new: after.
    """
    at_one_pass = min(AT_ONE_PASS, sweep.leaf.height)

    def change_some(i: Array, z: PyTree) -> PyTree:
        # Else the whole view would be copied out of its stack, ahead of this loop.
        mine, i = lax.optimization_barrier((turn, i))
        view = _open(sweep, columns, leaf, mine)
        for j in range(at_one_pass):
            visit = first + i * at_one_pass + j
            k = _place(sweep, columns, jnp.minimum(visit, last - 1))
            weight = jnp.where(visit < last, new[k], old[k])
            z = move(z, sweep.program.direction(view, k), weight, old[k])
        return z

    return lax.fori_loop(0, -(-(last - first) // at_one_pass), change_some, z)


def _open_preactivations(sweep: Sweep, columns: Columns, leaf: Array, column: Array) -> PyTree:
    """Those of the incumbent on every mini-batch, if the plan carries them."""
    if not sweep.plan.kept.preactivations:
        return ()
    weights = column.reshape(leaf.shape[:-1])
    if sweep.program.examples_last and leaf.ndim > 2:
        return _sum_weights(sweep, columns, leaf, column)
    incumbent = sweep.variables_with(leaf)

    def of_one(stacks: tuple[PyTree, PyTree, PyTree]) -> PyTree:
        batch, prefix, residual = stacks
        view = ColumnView(incumbent, batch, prefix, residual, columns.first)
        return sweep.program.preactivation(view, weights)

    return lax.map(of_one, (columns.batches, columns.prefixes, columns.residuals))


def _sum_weights(sweep: Sweep, columns: Columns, leaf: Array, column: Array) -> PyTree:
    """The pre-activation on every mini-batch as the sum of what each weight adds.

    With examples last that takes a fraction of the time of a convolution with one output.
    """
    first = columns.first * sweep.leaf.height
    minibatches = len(jax.tree.leaves(columns.batches)[0])

    def of_one(turn: Array) -> PyTree:
        view = _open(sweep, columns, leaf, turn)
        shapes = jax.eval_shape(sweep.program.preactivation, view, column.reshape(leaf.shape[:-1]))
        z = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
        last = first + sweep.leaf.height
        return _change(sweep, columns, leaf, turn, z, first, last, jnp.zeros_like(column), column)

    return lax.map(of_one, jnp.arange(minibatches))
