"""Sequential search: visit the weights of a leaf one at a time and decide each (Algorithm 1).

For each weight w: shrink it by the weight decay, draw perturbations, evaluate the incumbent
and the candidates on one mini-batch, keep one of them, and go on from there.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rso_jax.candidates import count_not_finite, finite_or_inf
from rso_jax.incremental import ColumnView, move
from rso_jax.mesh import DATA, size_of
from rso_jax.search.sweep import accept, put_turn, take_turn
from rso_jax.search.traversal import Columns, Done, Segment, Sweep, open_view, view_minibatch

PyTree = Any

# Weights whose changes enter a pre-activation in one pass over it.
AT_ONE_PASS = 4


class _Opened(NamedTuple):
    """A segment before its first visit."""

    sweep: Sweep
    columns: Columns
    """The column that it is part of."""
    leaf: Array
    """What it holds in this column is not read."""
    column: Array
    """Its weights, flattened."""
    first: Array
    """Visit of the first weight of the segment."""

    @property
    def minibatches(self) -> int:
        """How many the visits take in turn."""
        return len(jax.tree.leaves(self.columns.batches)[0])

    @property
    def shared(self) -> bool:
        """Whether several devices share a mini-batch."""
        return size_of(self.sweep.plan.mesh, DATA) > 1

    @property
    def begin(self) -> Array:
        """Visit of the first weight of the column."""
        return self.columns.first * self.sweep.leaf.height

    def place(self, number: Array) -> Array:
        """Where in its column the weight of a visit is."""
        return self.sweep.order[number - self.begin]

    def view(self, number: Array) -> ColumnView:
        """The column on the mini-batch of a visit."""
        view = view_minibatch(self.sweep, self.columns, self.leaf, number)
        return open_view(self.sweep, self.columns, view, self.columns.first, number)

    def shaped(self, column: Array) -> Array:
        """A column as the loss takes it."""
        return column.reshape(self.leaf.shape[:-1])


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
    opened = _Opened(sweep, columns, leaf, column, segment.first)
    z = _open_preactivations(opened)
    known: PyTree = ()
    if sweep.plan.kept.incumbent:
        turn = jnp.zeros_like(segment.first)
        first = take_turn(z, turn) if z else _preactivation(opened, turn)
        known = sweep.program.loss(opened.view(turn), opened.shaped(column), first)
        done = done._replace(not_finite=done.not_finite + count_not_finite(known))

    def visit(number: Array, visited: _Visited) -> _Visited:
        return _visit(opened, number, visited)

    begin = _Visited(column, z, known, done)
    column, _, _, done = lax.fori_loop(segment.first, segment.last, visit, begin)
    column = opened.shaped(column)
    return done._replace(leaf=leaf.at[..., at].set(column) if leaf.ndim else column)


def _visit(opened: _Opened, number: Array, visited: _Visited) -> _Visited:
    """Decide the weight of a visit, after those before it."""
    sweep = opened.sweep
    plan, program, prepared = sweep.plan, sweep.program, sweep.prepared
    column, z_of_all, known, done = visited
    view, k = opened.view(number), opened.place(number)
    if plan.kept.preactivations:
        z = _catch_up(opened, number, visited)
        z_of_all = put_turn(z_of_all, number, z)
    else:
        z = _preactivation(opened._replace(column=column), number)
    tried, direction = prepared.candidates[number], program.direction(view, k)

    def loss(weight: Array) -> Array:
        weights = opened.shaped(column.at[k].set(weight))
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


def _open_preactivations(opened: _Opened) -> PyTree:
    """Those of the column on every mini-batch, if the plan carries them."""
    if not opened.sweep.plan.kept.preactivations:
        return ()
    return lax.map(partial(_preactivation, opened), jnp.arange(opened.minibatches))


def _preactivation(opened: _Opened, turn: Array) -> PyTree:
    """That of the column on the mini-batch of a turn."""
    program = opened.sweep.program
    if opened.sweep.plan.sums_weights(program, opened.sweep.leaf):
        return _sum_weights(opened, turn)
    return program.preactivation(opened.view(turn), opened.shaped(opened.column))


def _sum_weights(opened: _Opened, turn: Array) -> PyTree:
    """The pre-activation on the mini-batch of a turn as the sum of what each weight adds."""
    column, height = opened.column, opened.sweep.leaf.height
    shapes = jax.eval_shape(
        opened.sweep.program.preactivation, opened.view(turn), opened.shaped(column)
    )
    nothing = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
    at_one_pass = max(n for n in range(1, AT_ONE_PASS + 1) if height % n == 0)

    def add(z: PyTree, visit: Array, k: Array, direction: PyTree) -> PyTree:
        del visit
        return jax.tree.map(lambda z, along: z + column[k].astype(z.dtype) * along, z, direction)

    end = opened.begin + height
    return _go_through(opened, turn, nothing, opened.begin, end, at_one_pass, add)


def _catch_up(opened: _Opened, number: Array, visited: _Visited) -> PyTree:
    """The pre-activation on the mini-batch of a visit, which others had their turn before.

    It is as of this mini-batch's last turn: what the visits since then have changed is added.
    """
    old, new = opened.column, visited.column
    since = jnp.maximum(opened.first, number - opened.minibatches)
    at_one_pass = opened.minibatches if opened.shared else min(AT_ONE_PASS, opened.minibatches)

    def add(z: PyTree, visit: Array, k: Array, direction: PyTree) -> PyTree:
        return move(z, direction, new[k], jnp.where(visit < number, old[k], new[k]))

    z = take_turn(visited.z, number)
    return _go_through(opened, number, z, since, number, at_one_pass, add)


Add = Callable[[PyTree, Array, Array, PyTree], PyTree]
"""``(z, visit, place, direction)``: z with the weight of a visit added."""


def _go_through(
    opened: _Opened, turn: Array, z: PyTree, first: Array, last: Array, at_one_pass: int, add: Add
) -> PyTree:
    """The pre-activation on the mini-batch of a turn with some weights added, a few at each pass.

    Args:
        opened: the segment.
        turn: a visit whose mini-batch it is.
        z: before.
        first: visit of the first of these weights.
        last: one past that of the last. The last pass goes on beyond, with the weight before it.
        at_one_pass: how many are added at a pass.
        add: adds one.
    """
    program = opened.sweep.program

    def add_some(i: Array, z: PyTree) -> PyTree:
        # Else the whole view would be copied out of its stack, ahead of this loop.
        mine, i = lax.optimization_barrier((turn, i))
        view = opened.view(mine)
        visits = [first + i * at_one_pass + j for j in range(at_one_pass)]
        places = [opened.place(jnp.minimum(visit, last - 1)) for visit in visits]
        for visit, k, direction in zip(visits, places, directions(view, places), strict=True):
            z = add(z, visit, k, direction)
        return z

    def directions(view: ColumnView, places: list[Array]) -> list[PyTree]:
        if not opened.shared:
            return [program.direction(view, k) for k in places]
        # Devices that share a mini-batch add up once for all of them.
        found = jax.vmap(lambda k: program.direction(view, k))(jnp.stack(places))
        return [jax.tree.map(lambda a, j=j: a[j], found) for j in range(at_one_pass)]

    return lax.fori_loop(0, -(-(last - first) // at_one_pass), add_some, z)
