"""Block search: probe the weights of a block all at once, then try to move them together.

Sequential search decides one weight after the other; here K weights, part of a column or some
whole columns of a leaf, are probed on one mini-batch against one incumbent. From the probes joint
steps are made, and the acceptance picks among the incumbent, the probes and the joint steps. Two
rounds of evaluations decide K weights.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rso_jax.candidates import count_not_finite, finite_or_inf
from rso_jax.incremental import ColumnView, move
from rso_jax.search.joint import Block
from rso_jax.search.sweep import accept
from rso_jax.search.traversal import Columns, Done, Segment, Sweep, open_view, view_minibatch

PyTree = Any


class _Place(NamedTuple):
    """The weights of a block, [columns, weights]; where a block ends early, some are no weights."""

    column: Array
    """Last index of each in the leaf."""
    within: Array
    """Place of each in its column."""
    flat: Array
    """Place in the flattened leaf; its size, where there is none."""
    visit: Array
    """Number of its visit; that of all visits, where there is none."""


class _Block(NamedTuple):
    """A block about to be decided."""

    columns: Columns
    number: Array
    """Of the block within the leaf."""
    place: _Place
    view: ColumnView
    """The incumbent on the block's mini-batch; no column is opened yet."""
    leaf: Array
    """The incumbent's, decayed, in its column form."""
    tried: Array
    """Values tried of each weight [columns, weights, candidates], the incumbent first."""


def decide_block(
    sweep: Sweep, columns: Columns, segment: Segment, done: Done, *, block: Block
) -> Done:
    """Decide the weights of a segment all at once.

    The randomness of a block depends on the sweep's keys and the block's number alone. Blocks all
    have one size; where one ends early it is filled up with evaluations of the incumbent, which are
    counted as what they cost.

    Args:
        sweep: of the leaf.
        columns: the block's, opened.
        segment: the block.
        done: what the blocks before came to.
        block: what is made of the probes.
    """
    prepared = sweep.prepared
    given = _open_block(sweep, columns, segment, done.leaf)
    place, tried = given.place, given.tried
    known = _score_together(sweep, given, tried[..., 0])
    not_finite = done.not_finite + count_not_finite(known)
    known = finite_or_inf(known)
    scores = jnp.broadcast_to(known, (*place.flat.shape, 1))
    if block.probe:
        probed = _probe(sweep, given)
        # What fills up a block repeats the incumbent, and is not counted again.
        exist = (place.flat < sweep.leaf.visits)[..., None]
        not_finite += count_not_finite(jnp.where(exist, probed, 0))
        scores = jnp.concatenate([scores, finite_or_inf(probed)], axis=-1)

    steps = block.step(tried, scores)
    joint = sweep.plan.evaluate(lambda values: _score_together(sweep, given, values), steps)
    not_finite += count_not_finite(joint)
    probes = scores[..., 1:].reshape(-1)
    scores = jnp.concatenate([known[None], probes, finite_or_inf(joint)])
    of_block = jax.random.fold_in(sweep.streams.acceptances, given.number)
    choice = accept(sweep.pieces, of_block, scores, prepared.cycle)
    flat = tried.reshape(-1, tried.shape[-1])
    values, codes = _outcome(choice, flat, steps.reshape(len(steps), -1), len(probes))
    return done._replace(
        leaf=_set(given.leaf, place.flat, values),
        choices=_set(done.choices, place.visit, codes),
        losses=_set(done.losses, place.visit, jnp.broadcast_to(scores[choice], codes.shape)),
        not_finite=not_finite,
    )


def _open_block(sweep: Sweep, columns: Columns, segment: Segment, leaf: Array) -> _Block:
    """What a block starts from: its weights decayed, and its mini-batch."""
    place = _place_of(sweep, columns.first, segment.number)
    tried = sweep.prepared.candidates.at[place.visit].get(mode="clip")
    leaf = _set(leaf, place.flat, tried[..., 0])
    # Where there is no weight, nothing else is tried of the one that stands in for it.
    there = leaf.reshape(-1)[place.within * sweep.leaf.columns + place.column]
    tried = jnp.where((place.flat < sweep.leaf.visits)[..., None], tried, there[..., None])
    number = columns.first * sweep.plan.segment.in_a_column(sweep.leaf) + segment.number
    view = view_minibatch(sweep, columns, leaf, number)
    return _Block(columns, number, place, view, leaf, tried)


def _place_of(sweep: Sweep, group: Array, number: Array) -> _Place:
    """Where the weights of a block are.

    Args:
        sweep: of the leaf.
        group: number of its columns' group.
        number: of the block within them.
    """
    leaf, (wide, tall) = sweep.leaf, sweep.plan.segment
    column = group * wide + jnp.arange(wide)[:, None]
    rank = number * tall + jnp.arange(tall)[None]
    exists = (column < leaf.columns) & (rank < leaf.height)
    column, rank = (
        jnp.broadcast_to(jnp.minimum(i, most - 1), exists.shape)
        for i, most in ((column, leaf.columns), (rank, leaf.height))
    )
    within = sweep.order[rank]
    return _Place(
        column,
        within,
        jnp.where(exists, within * leaf.columns + column, leaf.visits),
        jnp.where(exists, column * leaf.height + rank, leaf.visits),
    )


def _score_together(sweep: Sweep, given: _Block, values: Array) -> Array:
    """The loss of a block with all of its weights at other values [columns, weights]."""
    changed, view = _set(given.leaf, given.place.flat, values), given.view
    if sweep.plan.segment.columns > 1:
        variables = sweep.variables_with(changed)._replace(key=view.params.key)
        return sweep.program.whole(variables, view.batch)
    index = given.columns.first
    weights = changed[..., index] if changed.ndim else changed
    view = open_view(sweep, given.columns, view, index, given.number)
    return sweep.program.loss(view, weights, sweep.program.preactivation(view, weights))


def _probe(sweep: Sweep, given: _Block) -> Array:
    """The losses [columns, weights, probes] of every weight moved alone."""
    by_column = given.place.column[:, 0], given.place.within, given.tried

    def probe_one(one: tuple[Array, Array, Array]) -> Array:
        return _probe_column(sweep, given, *one)

    if sweep.plan.segment.columns == 1:
        return probe_one(jax.tree.map(lambda a: a[0], by_column))[None]
    return lax.map(probe_one, by_column)


def _probe_column(sweep: Sweep, given: _Block, index: Array, within: Array, tried: Array) -> Array:
    """The losses [weights, probes] of the weights of one column.

    Args:
        sweep: of the leaf.
        given: the block.
        index: of the column.
        within: places of the block's weights in it.
        tried: their values [weights, candidates].
    """
    program, leaf = sweep.program, given.leaf
    view = open_view(sweep, given.columns, given.view, index, given.number)
    weights = leaf[..., index] if leaf.ndim else leaf
    z = program.preactivation(view, weights)

    def loss(k: Array, value: Array) -> Array:
        column = weights.reshape(-1)
        changed = column.at[k].set(value).reshape(weights.shape)
        return program.loss(view, changed, move(z, program.direction(view, k), value, column[k]))

    probes = tried[:, 1:]
    scored = sweep.plan.evaluate(loss, jnp.repeat(within, probes.shape[1]), probes.reshape(-1))
    return scored.reshape(probes.shape)


def _outcome(choice: Array, tried: Array, steps: Array, probes: int) -> tuple[Array, Array]:
    """Values [K] of a block's weights for the candidate chosen, and a code of each for it.

    Args:
        choice: 0 the incumbent, then the probes of each weight in turn, then the joint steps.
        tried: values [K, candidates].
        steps: values [joint steps, K].
        probes: how many probes there were.
    """
    incumbent = tried[:, 0]
    each = max(tried.shape[1] - 1, 1)
    weight, candidate = (choice - 1) // each, (choice - 1) % each + 1
    probed = incumbent.at[weight].set(tried[weight, candidate], mode="clip")
    s = jnp.clip(choice - 1 - probes, 0, len(steps) - 1)
    alone, none = choice <= probes, choice == 0
    values = jnp.where(none, incumbent, jnp.where(alone, probed, steps[s]))
    code = jnp.where(alone, candidate, -(s + 1))
    return values, jnp.where(values == incumbent, 0, code).astype(jnp.int8)


def _set(array: Array, at: Array, values: Array) -> Array:
    """An array with other values at flat places; places beyond its end are left out."""
    flat = array.reshape(-1)
    return flat.at[at.reshape(-1)].set(values.reshape(-1), mode="drop").reshape(array.shape)
