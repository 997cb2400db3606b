"""Block search: probe the weights of a block all at once, then try to move them together.

Sequential search decides one weight after the other; here K weights, part of a column or some
whole columns of a leaf, are probed on one mini-batch against one incumbent. From the probes joint
steps are made, and the acceptance picks among the incumbent, the probes and the joint steps. Two
rounds of evaluations decide K weights.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rso_jax.candidates import count_not_finite, finite_or_inf
from rso_jax.incremental import ColumnProgram
from rso_jax.search.evaluation import Plan
from rso_jax.search.joint import Block
from rso_jax.search.leaves import LossFn
from rso_jax.search.objective import Variables
from rso_jax.search.order import visiting_order
from rso_jax.search.sweep import (
    Prepared,
    Rule,
    Visits,
    accept,
    decided,
    in_turn,
    minibatch_of,
    moved,
    of_column,
    streams,
    with_key,
    with_leaf,
)

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


def visit_blocks(
    program: ColumnProgram,
    loss_fn: LossFn,
    rule: Rule,
    block: Block,
    plan: Plan,
    key: Array,
    variables: Variables,
    leaf_index: int,
    prepared: Prepared,
    start: Array,
    stop: Array,
) -> tuple[Array, Visits]:
    """The blocks of visits ``start`` to ``stop - 1`` of the sweep of one leaf.

    Both bounds are cuts of ``plan.stretch``, and traced. The randomness of a block depends on
    ``key`` and its number alone. Blocks all have one size; where one ends early it is filled up
    with evaluations of the incumbent, which are counted as what they cost.

    Args:
        program: evaluates candidates of a column, for this leaf.
        loss_fn: ``loss_fn(variables, examples)``, for blocks of several columns.
        rule: the pieces of the search.
        block: what is made of the probes.
        plan: what is computed ahead and kept, and how candidates are batched.
        key: PRNG key of the sweep.
        variables: of the loss; its parameters are the incumbent.
        leaf_index: place of the leaf among the flattened parameters.
        prepared: by ``prepare_sweep``, with the same key.
        start: first visit, integer scalar.
        stop: one past the last visit, integer scalar.

    Returns:
        The leaf after these visits, and what was decided.
    """
    leaves, treedef = jax.tree.flatten(variables)
    shape, size = leaves[leaf_index].shape, leaves[leaf_index].size
    height = math.prod(shape[:-1])
    columns = size // height
    wide, tall = plan.stretch
    in_column, groups = -(-height // tall), -(-columns // wide)
    batch_key, acceptance_key = jax.random.split(streams(key)[2])
    order = visiting_order(shape)[:height] // columns

    def place_of(group: Array, b: Array) -> _Place:
        column = group * wide + jnp.arange(wide)[:, None]
        rank = b * tall + jnp.arange(tall)[None]
        exists = (column < columns) & (rank < height)
        column, rank = (
            jnp.broadcast_to(jnp.minimum(i, most - 1), exists.shape)
            for i, most in ((column, columns), (rank, height))
        )
        within = order[rank]
        return _Place(
            column,
            within,
            jnp.where(exists, within * columns + column, size),
            jnp.where(exists, column * height + rank, size),
        )

    def visit_group(group: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        batches, prefixes = of_column(rule, group, (prepared.batches, prepared.prefixes))
        kept: PyTree = ()
        if plan.keep_columns:
            before = with_leaf(leaves, treedef, leaf_index, carry[0])
            kept = lax.map(lambda x: program.column(before, x[0], x[1], group), (batches, prefixes))

        def visit_block(b: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
            leaf, choices, losses, not_finite = carry
            number = group * in_column + b
            place = place_of(group, b)
            tried = prepared.candidates.at[place.visit].get(mode="clip")
            incumbent_leaf = _set(leaf, place.flat, tried[..., 0])
            # Where there is no weight, nothing else is tried of the one that stands in for it.
            there = incumbent_leaf.reshape(-1)[place.within * columns + place.column]
            tried = jnp.where((place.flat < size)[..., None], tried, there[..., None])
            incumbent = with_leaf(leaves, treedef, leaf_index, incumbent_leaf)
            incumbent = with_key(incumbent, key, number)

            batch = minibatch_of(rule, batch_key, number, batches)
            if plan.keep_prefixes:
                prefix = in_turn(prefixes, number)
            else:
                prefix = program.prefix(incumbent, batch)

            def residual_of(o: Array) -> PyTree:
                if plan.keep_columns:
                    return in_turn(kept, number)
                return program.column(incumbent, batch, prefix, o)

            def loss_together(values: Array) -> Array:
                """Of the block with all of its weights at other values [columns, weights]."""
                changed = _set(incumbent_leaf, place.flat, values)
                if wide > 1:
                    whole = with_leaf(leaves, treedef, leaf_index, changed)
                    return loss_fn(whole._replace(key=incumbent.key), batch)
                weights = changed[..., group] if shape else changed
                inside = incumbent, batch, prefix, residual_of(group), group, weights
                return program.loss(*inside, program.preactivation(*inside))

            def probe_column(one: tuple[Array, Array, Array]) -> Array:
                o, within, tried = one
                weights = incumbent_leaf[..., o] if shape else incumbent_leaf
                inside = incumbent, batch, prefix, residual_of(o), o
                z = program.preactivation(*inside, weights)

                def loss(at: Array, value: Array) -> Array:
                    column = weights.reshape(-1)
                    changed = column.at[at].set(value).reshape(weights.shape)
                    z_changed = moved(z, program.direction(*inside, at), value, column[at])
                    return program.loss(*inside, changed, z_changed)

                probes = tried[:, 1:]
                scored = plan.score(loss, jnp.repeat(within, probes.shape[1]), probes.reshape(-1))
                return scored.reshape(probes.shape)

            known = loss_together(tried[..., 0])
            not_finite += count_not_finite(known)
            known = finite_or_inf(known)
            scores = jnp.broadcast_to(known, (*place.flat.shape, 1))
            if block.probe:
                by_column = place.column[:, 0], place.within, tried
                probed = (
                    probe_column(jax.tree.map(lambda a: a[0], by_column))[None]
                    if wide == 1
                    else lax.map(probe_column, by_column)
                )
                # What fills up a block repeats the incumbent, and is not counted again.
                exist = (place.flat < size)[..., None]
                not_finite += count_not_finite(jnp.where(exist, probed, 0))
                scores = jnp.concatenate([scores, finite_or_inf(probed)], axis=-1)

            drift = prepared.drift.at[place.visit].get(mode="fill", fill_value=0)
            steps = block.step(tried, scores, drift)
            joint = plan.score(loss_together, steps)
            not_finite += count_not_finite(joint)
            joint = finite_or_inf(joint)
            probes = scores[..., 1:].reshape(-1)
            scores = jnp.concatenate([known[None], probes, joint])
            of_block = jax.random.fold_in(acceptance_key, number)
            choice = accept(rule, of_block, scores, prepared.cycle)
            flat = tried.reshape(-1, tried.shape[-1])
            values, codes = _outcome(choice, flat, steps.reshape(len(steps), -1), len(probes))
            return (
                _set(incumbent_leaf, place.flat, values),
                _set(choices, place.visit, codes),
                _set(losses, place.visit, jnp.broadcast_to(scores[choice], codes.shape)),
                not_finite,
            )

        begin = group * wide * height
        first = jnp.maximum(start - begin, 0) // tall if wide == 1 else 0
        last = -(-jnp.minimum(stop - begin, height) // tall) if wide == 1 else 1
        return lax.fori_loop(first, last, visit_block, carry)

    nothing = jnp.zeros(size, jnp.int8), jnp.zeros(size, plan.loss_dtype), jnp.zeros((), jnp.int32)
    first, last = start // (wide * height), -(-stop // (wide * height))
    first, last = jnp.minimum(first, groups), jnp.minimum(last, groups)
    leaf, choices, losses, not_finite = lax.fori_loop(
        first, last, visit_group, (leaves[leaf_index], *nothing)
    )
    return leaf, decided(choices, losses, not_finite, shape, stop)


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
