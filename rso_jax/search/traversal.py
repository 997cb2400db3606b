"""The traversal of a leaf: its columns one after the other, each in segments.

Sequential search, blocks, and whatever searches in another way differ in how a segment is decided:
a function ``decide(sweep, columns, segment, done) -> done``. What comes before that is the same:
which visits are asked for, which mini-batches the columns take, and what is computed once for them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rso_jax.incremental import ColumnProgram, ColumnView
from rso_jax.leaves import Leaf
from rso_jax.search import keys
from rso_jax.search.objective import Variables
from rso_jax.search.order import visiting_order
from rso_jax.search.plan import Plan
from rso_jax.search.sweep import Pieces, Prepared, take_turn

PyTree = Any


class Sweep(NamedTuple):
    """What stays the same while a leaf is swept."""

    leaf: Leaf
    program: ColumnProgram
    """Evaluates candidates, the leaf in its column form."""
    plan: Plan
    pieces: Pieces
    streams: keys.Streams
    """The keys that its decisions draw with."""
    variables: Variables
    """Of the loss; their parameters are the incumbent before these visits."""
    prepared: Prepared
    """By ``prepare_sweep``, with the same keys."""
    order: Array
    """Place in its column of the weight of each of a column's visits; all columns have one."""

    def variables_with(self, leaf: Array, number: Array | None = None) -> Variables:
        """The variables with another leaf and, where the loss takes one, the key of a decision.

        The key is the same for all candidates, so that they differ by their weights alone.

        Args:
            leaf: in its column form.
            number: of the decision.
        """
        arrays, treedef = jax.tree.flatten(self.variables)
        arrays[self.leaf.position] = leaf
        variables: Variables = jax.tree.unflatten(treedef, arrays)
        if number is None or isinstance(variables.key, tuple):
            return variables
        return variables._replace(key=jax.random.fold_in(self.streams.losses, number))


class Columns(NamedTuple):
    """Some columns that are swept at once, opened: what their segments share."""

    first: Array
    """Number of the first of them; of several, that of the group."""
    batches: PyTree
    """Stack of the mini-batches that their visits take in turn [M, n, ...]."""
    prefixes: PyTree
    """Of the column program for each of them, if the plan keeps them."""
    residuals: PyTree
    """Likewise what the column cannot change."""


class Segment(NamedTuple):
    """Visits in a row that belong together."""

    number: Array
    """Within its columns, from 0."""
    first: Array
    """First visit that is asked for."""
    last: Array
    """One past the last."""


class Done(NamedTuple):
    """What the visits so far came to."""

    leaf: Array
    """In its column form."""
    choices: Array
    """Candidate at which each visit kept its weight, int8 [visits]; 0 before."""
    losses: Array
    """Its mini-batch loss [visits]; 0 before."""
    not_finite: Array
    """Number of candidates evaluated whose loss was NaN or infinite, integer scalar."""
    more: PyTree = ()
    """What a way to decide carries on besides."""


class Visits(NamedTuple):
    """What some visits of a leaf decided; entries of weights not visited are 0."""

    choices: Array
    """As in ``Info``, in the leaf's column form."""
    losses: Array
    """Likewise."""
    accepted: Array
    """Number of visits that changed the weight, integer scalar."""
    not_finite: Array
    """Number of candidates evaluated whose loss was not finite, integer scalar."""
    loss: Array
    """Mini-batch loss after the last visit, scalar; of the leaf's own loss."""


Decide = Callable[[Sweep, Columns, Segment, Done], Done]


def begin_sweep(
    leaf: Leaf,
    program: ColumnProgram,
    plan: Plan,
    pieces: Pieces,
    key: Array,
    variables: Variables,
    prepared: Prepared,
) -> Sweep:
    """The sweep of a leaf, by its key and what was prepared with it; fields as of ``Sweep``."""
    order = visiting_order(leaf.form)[: leaf.height] // leaf.columns
    streams = keys.streams(key, leaf.visits)
    return Sweep(leaf, program, plan, pieces, streams, variables, prepared, order)


def traverse(
    sweep: Sweep, start: Array, stop: Array, decide: Decide, more: PyTree = ()
) -> tuple[Array, Visits, PyTree]:
    """Visits ``start`` to ``stop - 1`` of the sweep of one leaf.

    The bounds are traced, so that one compilation serves a whole sweep as well as any part of it.
    Cut between segments, a sweep in parts decides as one in one piece, bit for bit.

    Args:
        sweep: of the leaf.
        start: first visit, integer scalar.
        stop: one past the last visit, integer scalar.
        decide: decides the visits of a segment.
        more: what it carries on besides, before the first visit.

    Returns:
        The leaf after these visits in its column form, what was decided, and ``more`` after it.
    """
    leaf, (wide, tall) = sweep.leaf, sweep.plan.segment
    size = wide * leaf.height

    def visit_columns(group: Array, done: Done) -> Done:
        columns, begin = open_columns(sweep, group, done.leaf), group * size

        def visit_segment(number: Array, done: Done) -> Done:
            ahead = begin + number * tall
            end = jnp.minimum(ahead + wide * tall, begin + size)
            within = Segment(number, jnp.maximum(start, ahead), jnp.minimum(stop, end))
            return decide(sweep, columns, within, done)

        first: Array | int = 0
        last: Array | int = 1
        if wide == 1:
            first = jnp.maximum(start - begin, 0) // tall
            last = -(-jnp.minimum(stop - begin, size) // tall)
        return lax.fori_loop(first, last, visit_segment, done)

    nothing = jnp.zeros(leaf.visits, jnp.int8), jnp.zeros(leaf.visits, sweep.plan.loss_dtype)
    array = jax.tree.leaves(sweep.variables)[leaf.position]
    done = Done(array, *nothing, jnp.zeros((), jnp.int32), more)
    done = lax.fori_loop(start // size, -(-stop // size), visit_columns, done)
    return done.leaf, _visits_of(done, stop), done.more


def open_columns(sweep: Sweep, group: Array, leaf: Array) -> Columns:
    """Open a column, or some at once.

    Args:
        sweep: of the leaf.
        group: number of the column, or of the group of columns.
        leaf: as it is before their first visit.
    """
    program, plan, prepared = sweep.program, sweep.plan, sweep.prepared
    stacks = prepared.batches, prepared.prefixes
    if sweep.pieces.minibatches.turn == "column":
        stacks = jax.tree.map(lambda a: a[group % a.shape[0]][None], stacks)
    batches, prefixes = stacks
    residuals: PyTree = ()
    if plan.kept.columns:
        incumbent = sweep.variables_with(leaf)
        residuals = lax.map(lambda one: program.column(incumbent, one[0], one[1], group), stacks)
    return Columns(group, batches, prefixes, residuals)


def view_minibatch(sweep: Sweep, columns: Columns, leaf: Array, number: Array) -> ColumnView:
    """What a decision starts from: a view of which no column is opened yet.

    Args:
        sweep: of the leaf.
        columns: that the decision is about.
        leaf: the incumbent's.
        number: of the decision.
    """
    variables, minibatches = sweep.variables_with(leaf, number), sweep.pieces.minibatches
    if minibatches.select is None:
        batch = take_turn(columns.batches, number)
    else:
        of_decision = jax.random.fold_in(sweep.streams.minibatches, number)
        batch = minibatches.select(of_decision, columns.batches)
    if sweep.plan.kept.prefixes:
        prefix = take_turn(columns.prefixes, number)
    else:
        prefix = sweep.program.prefix(variables, batch)
    return ColumnView(variables, batch, prefix, (), columns.first)


def open_view(
    sweep: Sweep, columns: Columns, view: ColumnView, index: Array, number: Array
) -> ColumnView:
    """The view of a column, of one of which none is opened yet.

    Args:
        sweep: of the leaf.
        columns: opened, the column among them.
        view: by ``view_minibatch``.
        index: of the column.
        number: of the decision.
    """
    if sweep.plan.kept.columns:
        residual = take_turn(columns.residuals, number)
    else:
        residual = sweep.program.column(view.params, view.batch, view.prefix, index)
    return view._replace(column=residual, index=index)


def _visits_of(done: Done, stop: Array) -> Visits:
    order, shape = visiting_order(done.leaf.shape), done.leaf.shape

    def put_in_place(values: Array) -> Array:
        return jnp.zeros_like(values).at[order].set(values).reshape(shape)

    return Visits(
        choices=put_in_place(done.choices),
        losses=put_in_place(done.losses),
        accepted=jnp.sum(done.choices != 0),
        not_finite=done.not_finite,
        loss=done.losses[jnp.maximum(stop - 1, 0)],
    )
