"""Sequential search: visit the weights of a leaf one at a time and decide each (Algorithm 1).

For each weight w: shrink it by the weight decay, draw perturbations, evaluate the incumbent
and the candidates on one mini-batch, keep one of them, and go on from there.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rso_jax.incremental import ColumnProgram
from rso_jax.search.acceptance import Acceptance
from rso_jax.search.evaluation import Plan
from rso_jax.search.leaves import stretch_length
from rso_jax.search.minibatches import MiniBatches, stack_shape
from rso_jax.search.order import visiting_order
from rso_jax.search.proposals import Proposal

PyTree = Any


class Rule(NamedTuple):
    """What a visit does: the pieces of a sequential search."""

    proposal: Proposal
    acceptance: Acceptance
    minibatches: MiniBatches
    weight_decay: float


class Prepared(NamedTuple):
    """What the visits of one sweep share, known before the first of them."""

    candidates: Array
    """Values each visit tries [visits, candidates], the incumbent first."""
    batches: PyTree
    """Stack of mini-batches [M, n, ...] as the sweep uses them."""
    prefixes: PyTree
    """Of the column program for every mini-batch [M, ...]; empty where they are not kept."""


class Visits(NamedTuple):
    """What some visits of a leaf decided; entries of weights not visited are 0."""

    choices: Array
    """Index of the candidate kept, int8 of the leaf's shape; 0 is the incumbent."""
    losses: Array
    """Mini-batch loss of the candidate kept, of the leaf's shape."""
    accepted: Array
    """Number of visits that changed the weight, integer scalar."""
    loss: Array
    """Mini-batch loss after the last visit, scalar."""


def prepare_sweep(rule: Rule, key: Array, leaf: Array, sigma: Array, batches: PyTree) -> Prepared:
    """Draw what a sweep needs.

    A sweep visits each weight once, so all its candidates follow from the leaf as it is now;
    drawn here, they are compiled once for all leaves of a shape. Halfway through a sweep this
    gives the visits still to come the same candidates as at its start.

    Args:
        rule: the pieces of the search.
        key: PRNG key of the sweep.
        leaf: the array to sweep.
        sigma: scale of the perturbations, a scalar or of the leaf's shape.
        batches: stack of mini-batches [M, n, ...].
    """
    proposal_key, arrange_key, _ = _streams(key)
    order = visiting_order(leaf.shape)
    incumbents = leaf.reshape(-1)[order] * jnp.asarray(1.0 - rule.weight_decay, leaf.dtype)
    sigmas = jnp.broadcast_to(sigma, leaf.shape).reshape(-1)[order].astype(leaf.dtype)

    def tried(visit: Array, incumbent: Array, scale: Array) -> Array:
        steps = rule.proposal(jax.random.fold_in(proposal_key, visit), incumbent, scale)
        return jnp.concatenate([incumbent[None], incumbent + steps])

    return Prepared(
        candidates=jax.vmap(tried)(jnp.arange(leaf.size), incumbents, sigmas),
        batches=rule.minibatches.arrange(arrange_key, batches),
        prefixes=(),
    )


def visit_weights(
    program: ColumnProgram,
    rule: Rule,
    plan: Plan,
    key: Array,
    params: PyTree,
    leaf_index: int,
    prepared: Prepared,
    start: Array,
    stop: Array,
) -> tuple[PyTree, Visits]:
    """Visits ``start`` to ``stop - 1`` of the sweep of one leaf.

    The bounds are traced, so that one compilation serves a whole sweep as well as any part of
    it. The randomness of a visit depends on ``key`` and its number alone. A sweep cut into parts
    decides as one in one piece: bit for bit if it is cut at ``Leaf.cuts``, elsewhere up to the
    rounding of the pre-activation, which is computed anew there.

    Args:
        program: evaluates candidates, for this leaf.
        rule: the pieces of the search.
        plan: what is computed ahead and kept, and how candidates are batched.
        key: PRNG key of the sweep.
        params: the incumbent.
        leaf_index: place of the leaf among the flattened parameters.
        prepared: by ``prepare_sweep``, with the same key.
        start: first visit, integer scalar.
        stop: one past the last visit, integer scalar.

    Returns:
        The parameters after these visits, and what was decided.
    """
    leaves, treedef = jax.tree.flatten(params)
    shape = leaves[leaf_index].shape
    columns = shape[-1] if shape else 1
    height = math.prod(shape[:-1])
    candidates, batches, prefixes = prepared
    minibatches, _ = stack_shape(batches)
    batch_key, acceptance_key = jax.random.split(_streams(key)[2])
    order = visiting_order(shape)
    # Every column visits its weights in the same order: where they are within the column.
    within = order[:height] // columns
    length = stretch_length(height)

    def of_batch(tree: PyTree, m: Array) -> PyTree:
        return jax.tree.map(lambda a: a[m], tree)

    def visit_column(o: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        leaf, choices, losses = carry
        incumbent = jax.tree.unflatten(
            treedef, [*leaves[:leaf_index], leaf, *leaves[leaf_index + 1 :]]
        )

        def residuals(batch: PyTree, prefix: PyTree) -> PyTree:
            return program.column(incumbent, batch, prefix, o)

        def of_stack(function: Callable[..., PyTree]) -> PyTree:
            """What a function makes of every mini-batch, its prefix and its residuals."""
            return lax.map(lambda of_one: function(*of_one), (batches, prefixes, kept))

        if plan.keep_columns:
            kept = lax.map(lambda of_one: residuals(*of_one), (batches, prefixes))

        def visit_stretch(stretch: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
            column, choices, losses = carry

            def preactivation(column: Array, batch: PyTree, prefix: PyTree, kept: PyTree) -> PyTree:
                weights = column.reshape(shape[:-1])
                return program.preactivation(incumbent, batch, prefix, kept, o, weights)

            def visit(
                number: Array, carry: tuple[Array, PyTree, Array, Array]
            ) -> tuple[Array, PyTree, Array, Array]:
                column, carried, choices, losses = carry
                m = number % minibatches
                visit_key = jax.random.fold_in(batch_key, number)
                batch = rule.minibatches.select(visit_key, batches, number)
                if plan.keep_prefixes:
                    prefix = of_batch(prefixes, m)
                else:
                    prefix = program.prefix(incumbent, batch)
                residual = of_batch(kept, m) if plan.keep_columns else residuals(batch, prefix)
                at, tried = within[number - o * height], candidates[number]

                def direction(batch: PyTree, prefix: PyTree, kept: PyTree) -> PyTree:
                    return program.direction(incumbent, batch, prefix, kept, o, at)

                if plan.carry_preactivations:
                    z = of_batch(carried, m)
                else:
                    z = preactivation(column, batch, prefix, residual)
                towards = direction(batch, prefix, residual)

                def loss(weight: Array) -> Array:
                    weights = column.at[at].set(weight).reshape(shape[:-1])
                    moved = _moved(z, towards, weight, column[at])
                    return program.loss(incumbent, batch, prefix, residual, o, weights, moved)

                scores = (
                    jax.vmap(loss)(tried) if plan.candidate_axis == "vmap" else lax.map(loss, tried)
                )
                scores = jnp.where(jnp.isfinite(scores), scores, jnp.inf)
                choice = rule.acceptance(jax.random.fold_in(acceptance_key, number), scores)
                if plan.carry_preactivations:
                    carried = _moved(carried, of_stack(direction), tried[choice], column[at])
                return (
                    column.at[at].set(tried[choice]),
                    carried,
                    choices.at[number].set(choice.astype(jnp.int8)),
                    losses.at[number].set(scores[choice]),
                )

            carried = of_stack(partial(preactivation, column)) if plan.carry_preactivations else ()
            begin = o * height + stretch * length
            end = jnp.minimum(begin + length, (o + 1) * height)
            first, last = jnp.maximum(start, begin), jnp.minimum(stop, end)
            column, _, choices, losses = lax.fori_loop(
                first, last, visit, (column, carried, choices, losses)
            )
            return column, choices, losses

        column = (leaf[..., o] if shape else leaf).reshape(-1)
        first = jnp.maximum(start - o * height, 0) // length
        last = (jnp.minimum(stop - o * height, height) + length - 1) // length
        column, choices, losses = lax.fori_loop(
            first, last, visit_stretch, (column, choices, losses)
        )
        column = column.reshape(shape[:-1])
        return leaf.at[..., o].set(column) if shape else column, choices, losses

    size = columns * height
    nothing = jnp.zeros(size, jnp.int8), jnp.zeros(size, plan.loss_dtype)
    first, last = start // height, (stop + height - 1) // height
    leaf, choices, losses = lax.fori_loop(first, last, visit_column, (leaves[leaf_index], *nothing))

    def in_place(values: Array) -> Array:
        return jnp.zeros_like(values).at[order].set(values).reshape(shape)

    return jax.tree.unflatten(
        treedef, [*leaves[:leaf_index], leaf, *leaves[leaf_index + 1 :]]
    ), Visits(
        choices=in_place(choices),
        losses=in_place(losses),
        accepted=jnp.sum(choices != 0),
        loss=losses[jnp.maximum(stop - 1, 0)],
    )


def _moved(z: PyTree, direction: PyTree, weight: Array, before: Array) -> PyTree:
    """Pre-activations after one weight has changed."""
    return jax.tree.map(
        lambda a, b: a + (weight.astype(a.dtype) - before.astype(a.dtype)) * b, z, direction
    )


def _streams(key: Array) -> tuple[Array, Array, Array]:
    """Independent keys of a sweep: for proposals, for arranging mini-batches, for visits."""
    proposals, arrangement, visits = jax.random.split(key, 3)
    return proposals, arrangement, visits
