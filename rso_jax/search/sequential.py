"""Sequential search: visit the weights of a leaf one at a time and decide each (Algorithm 1).

For each weight w: shrink it by the weight decay, draw perturbations, evaluate the incumbent
and the candidates on one mini-batch, keep one of them, and go on from there.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rso_jax.search.acceptance import Acceptance
from rso_jax.search.evaluation import CandidateAxis, full_forward
from rso_jax.search.leaves import LossFn
from rso_jax.search.minibatches import MiniBatches
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
    )


def visit_weights(
    loss_fn: LossFn,
    rule: Rule,
    axis: CandidateAxis,
    key: Array,
    params: PyTree,
    leaf_index: int,
    prepared: Prepared,
    start: Array,
    stop: Array,
) -> tuple[PyTree, Visits]:
    """Visits ``start`` to ``stop - 1`` of the sweep of one leaf.

    The bounds are traced, so that one compilation serves a whole sweep as well as any part of
    it, and a sweep cut into parts decides exactly as one in one piece: the randomness of a
    visit depends on ``key`` and its number alone.

    Args:
        loss_fn: ``loss_fn(params, batch)``, a scalar.
        rule: the pieces of the search.
        axis: how candidates are evaluated.
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
    leaf = leaves[leaf_index]
    candidates, batches = prepared
    _, _, visit_key = _streams(key)
    batch_key, acceptance_key = jax.random.split(visit_key)
    order = visiting_order(leaf.shape)
    first = jax.tree.map(lambda a: a[0], batches)
    loss_dtype = jax.eval_shape(loss_fn, params, first).dtype

    def with_leaf(flat: Array) -> PyTree:
        changed = flat.reshape(leaf.shape)
        return jax.tree.unflatten(
            treedef, [*leaves[:leaf_index], changed, *leaves[leaf_index + 1 :]]
        )

    def visit(number: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        flat, choices, losses = carry
        at, tried = order[number], candidates[number]
        batch = rule.minibatches.select(jax.random.fold_in(batch_key, number), batches, number)
        scores = full_forward(
            loss_fn, lambda weight: with_leaf(flat.at[at].set(weight)), batch, tried, axis
        )
        scores = jnp.where(jnp.isfinite(scores), scores, jnp.inf)
        choice = rule.acceptance(jax.random.fold_in(acceptance_key, number), scores)
        return (
            flat.at[at].set(tried[choice]),
            choices.at[number].set(choice.astype(jnp.int8)),
            losses.at[number].set(scores[choice]),
        )

    nothing = jnp.zeros(leaf.size, jnp.int8), jnp.zeros(leaf.size, loss_dtype)
    flat, choices, losses = lax.fori_loop(start, stop, visit, (leaf.reshape(-1), *nothing))

    def in_place(values: Array) -> Array:
        return jnp.zeros_like(values).at[order].set(values).reshape(leaf.shape)

    return with_leaf(flat), Visits(
        choices=in_place(choices),
        losses=in_place(losses),
        accepted=jnp.sum(choices != 0),
        loss=losses[jnp.maximum(stop - 1, 0)],
    )


def _streams(key: Array) -> tuple[Array, Array, Array]:
    """Independent keys of a sweep: for proposals, for arranging mini-batches, for visits."""
    proposals, arrangement, visits = jax.random.split(key, 3)
    return proposals, arrangement, visits
