"""What every kind of sweep shares: its rule, what it draws ahead, and what it tells afterwards."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.arrays import weak_as
from rso_jax.search.acceptance import Acceptance
from rso_jax.search.decay import shrunk
from rso_jax.search.minibatches import MiniBatches
from rso_jax.search.objective import Variables
from rso_jax.search.order import visiting_order
from rso_jax.search.proposals import Proposal

PyTree = Any


class Rule(NamedTuple):
    """The pieces of a search."""

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
    shared: PyTree
    """Arrays that the examples of all mini-batches share."""
    drift: Array
    """What each visit's weight changed by when it was last decided [visits]."""
    cycle: Array
    """Cycles completed before this one, integer scalar."""
    prefixes: PyTree
    """Of the column program for every mini-batch [M, ...]; empty where they are not kept."""


class Visits(NamedTuple):
    """What some visits of a leaf decided; entries of weights not visited are 0."""

    choices: Array
    """Which candidate each weight was kept at, int8 of the leaf's shape: 0 for the incumbent,
    -1, -2, ... for the joint steps of a block."""
    losses: Array
    """Mini-batch loss of the candidate kept, of the leaf's shape."""
    accepted: Array
    """Number of visits that changed the weight, integer scalar."""
    not_finite: Array
    """Number of candidates evaluated whose loss was not finite, integer scalar."""
    loss: Array
    """Mini-batch loss after the last visit, scalar."""


def prepare_sweep(
    rule: Rule,
    key: Array,
    cycle_key: Array,
    leaf: Array,
    drift: Array,
    sigma: Array,
    cycle: Array,
    batches: PyTree,
    shared: PyTree = (),
) -> Prepared:
    """Draw what a sweep needs.

    A sweep visits each weight once, so all its candidates follow from the leaf as it is now;
    drawn here, they are compiled once for all leaves of a shape. Halfway through a sweep this
    gives the visits still to come the same candidates as at its start.

    Args:
        rule: the pieces of the search.
        key: PRNG key of the sweep.
        cycle_key: PRNG key that all sweeps of the cycle share.
        leaf: the array to sweep.
        drift: what its weights changed by when they were last decided.
        sigma: scale of the perturbations, a scalar or of the leaf's shape.
        cycle: cycles completed, integer scalar.
        batches: stack of mini-batches [M, n, ...].
        shared: arrays that the examples of all mini-batches share.
    """
    proposal_key, arrange_key, _ = streams(key)
    if rule.minibatches.one_for_a_cycle:
        arrange_key = cycle_key
    order = visiting_order(leaf.shape)
    # Proposals draw by the numbers of visits; this is the first number beyond them.
    decay_key = jax.random.fold_in(proposal_key, leaf.size)
    incumbents = shrunk(decay_key, leaf.reshape(-1)[order], rule.weight_decay)
    sigmas = jnp.broadcast_to(sigma, leaf.shape).reshape(-1)[order].astype(leaf.dtype)

    def tried(visit: Array, incumbent: Array, scale: Array) -> Array:
        steps = rule.proposal(jax.random.fold_in(proposal_key, visit), incumbent, scale)
        return jnp.concatenate([incumbent[None], incumbent + steps])

    return Prepared(
        candidates=jax.vmap(tried)(jnp.arange(leaf.size), incumbents, sigmas),
        batches=weak_as(batches, rule.minibatches.arrange(arrange_key, batches)),
        shared=shared,
        drift=drift.reshape(-1)[order],
        cycle=cycle,
        prefixes=(),
    )


def streams(key: Array) -> tuple[Array, Array, Array]:
    """Independent keys of a sweep: for proposals, for arranging mini-batches, for visits."""
    proposals, arrangement, visits = jax.random.split(key, 3)
    return proposals, arrangement, visits


def with_key(variables: Variables, key: Array, number: Array) -> Variables:
    """The variables of a decision: a loss that takes a key gets one of its own in each.

    It is the same for all candidates, so that they differ by their weights alone.

    Args:
        variables: the incumbent, with or without a key.
        key: PRNG key of the sweep.
        number: of the decision.
    """
    if isinstance(variables.key, tuple):
        return variables
    # Mini-batches and acceptances draw with the first two keys that this one splits into.
    of_losses = jax.random.fold_in(streams(key)[2], 2)
    return variables._replace(key=jax.random.fold_in(of_losses, number))


def accept(rule: Rule, key: Array, losses: Array, cycle: Array) -> Array:
    """Which candidate is kept; the incumbent, if the index that the acceptance gives is none."""
    choice = rule.acceptance(key, losses, cycle)
    return jnp.where((choice >= 0) & (choice < losses.size), choice, 0)


def moved(z: PyTree, direction: PyTree, weight: Array, before: Array) -> PyTree:
    """Pre-activations after one weight has changed.

    Where what the weight is multiplied by is infinite, so is the result, and of what it was before
    nothing is left to subtract.
    """

    def of_one(z: Array, along: Array) -> Array:
        new, old = weight.astype(z.dtype), before.astype(z.dtype)
        infinite = new * along + jnp.where(jnp.isnan(z), z, 0)
        return jnp.where(jnp.isfinite(along), z + (new - old) * along, infinite)

    return jax.tree.map(of_one, z, direction)


def drifted(drift: Array, before: Array, after: Array, start: Array, stop: Array) -> Array:
    """The drift of a leaf after visits ``start`` to ``stop - 1``."""
    visits = jnp.arange(before.size)
    visited = (
        jnp.zeros(before.size, bool)
        .at[visiting_order(before.shape)]
        .set((visits >= start) & (visits < stop))
    )
    return jnp.where(visited.reshape(before.shape), after - before, drift)


def of_column(rule: Rule, column: Array, stacks: PyTree) -> PyTree:
    """Of stacks [M, ...] what the visits of a column take in turn."""
    if rule.minibatches.turn != "column":
        return stacks
    return jax.tree.map(lambda a: a[column % a.shape[0]][None], stacks)


def in_turn(stacks: PyTree, number: Array) -> PyTree:
    """The entry of stacks [M, ...] whose turn it is."""
    return jax.tree.map(lambda a: a[number % a.shape[0]], stacks)


def minibatch_of(rule: Rule, key: Array, number: Array, batches: PyTree) -> PyTree:
    """The mini-batch of a decision, from those of its column."""
    if rule.minibatches.select is None:
        return in_turn(batches, number)
    return rule.minibatches.select(jax.random.fold_in(key, number), batches)


def with_leaf(leaves: Sequence[Array], treedef: Any, index: int, leaf: Array) -> PyTree:
    """The parameters with another array in one place."""
    return jax.tree.unflatten(treedef, [*leaves[:index], leaf, *leaves[index + 1 :]])


def decided(
    choices: Array, losses: Array, not_finite: Array, shape: tuple[int, ...], stop: Array
) -> Visits:
    """What was decided, from choices and losses [visits] in the order of the visits."""
    order = visiting_order(shape)

    def in_place(values: Array) -> Array:
        return jnp.zeros_like(values).at[order].set(values).reshape(shape)

    return Visits(
        choices=in_place(choices),
        losses=in_place(losses),
        accepted=jnp.sum(choices != 0),
        not_finite=not_finite,
        loss=losses[jnp.maximum(stop - 1, 0)],
    )
