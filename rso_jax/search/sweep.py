"""What every kind of sweep shares: its pieces, what it draws ahead, and what it decides with."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.arrays import weak_as
from rso_jax.search import keys
from rso_jax.search.acceptance import Acceptance
from rso_jax.search.decay import shrink
from rso_jax.search.minibatches import MiniBatches
from rso_jax.search.order import visiting_order
from rso_jax.search.proposals import ByLeaf, Proposal

PyTree = Any


class Pieces(NamedTuple):
    """The pieces of a search that decide its visits."""

    proposal: Proposal | ByLeaf
    acceptance: Acceptance
    minibatches: MiniBatches
    weight_decay: float


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Prepared:
    """What the visits of one sweep share, known before the first of them."""

    candidates: Array
    """Values that each visit tries [visits, candidates], the incumbent first."""
    batches: PyTree
    """Stack of mini-batches [M, n, ...] as the sweep uses them."""
    shared: PyTree
    """Arrays that the examples of all mini-batches share."""
    cycle: Array
    """Cycles completed before this one, integer scalar."""
    prefixes: PyTree
    """Of the column program for every mini-batch [M, ...]; empty where they are not kept."""
    path: str = field(default="", metadata={"static": True})
    """That of the leaf; empty while it is drawn, which leaves of one shape share."""


def prepare_sweep(
    pieces: Pieces,
    proposal: Proposal,
    key: Array,
    cycle_key: Array,
    leaf: Array,
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
        pieces: of the search.
        proposal: of the leaf.
        key: PRNG key of the sweep.
        cycle_key: PRNG key by which all sweeps of the cycle arrange their mini-batches.
        leaf: the array to sweep.
        sigma: scale of the perturbations, a scalar or of the leaf's shape.
        cycle: cycles completed, integer scalar.
        batches: stack of mini-batches [M, n, ...].
        shared: arrays that the examples of all mini-batches share.
    """
    of = keys.streams(key, leaf.size)
    arrangement = cycle_key if pieces.minibatches.one_for_a_cycle else of.arrangement
    order = visiting_order(leaf.shape)
    incumbents = shrink(of.decay, leaf.reshape(-1)[order], pieces.weight_decay)
    sigmas = jnp.broadcast_to(sigma, leaf.shape).reshape(-1)[order].astype(leaf.dtype)

    def propose(visit: Array, incumbent: Array, scale: Array) -> Array:
        steps = proposal(jax.random.fold_in(of.proposals, visit), incumbent, scale)
        return jnp.concatenate([incumbent[None], incumbent + steps])

    return Prepared(
        candidates=jax.vmap(propose)(jnp.arange(leaf.size), incumbents, sigmas),
        batches=weak_as(batches, pieces.minibatches.arrange(arrangement, batches)),
        shared=shared,
        cycle=cycle,
        prefixes=(),
    )


def take_turn(stacks: PyTree, number: Array | int) -> PyTree:
    """The entry of stacks [M, ...] whose turn it is."""
    return jax.tree.map(lambda a: a[number % a.shape[0]], stacks)


def put_turn(stacks: PyTree, number: Array, entry: PyTree) -> PyTree:
    """Stacks [M, ...] with another entry in the place whose turn it is."""
    return jax.tree.map(lambda a, one: a.at[number % a.shape[0]].set(one), stacks, entry)


def accept(pieces: Pieces, key: Array, losses: Array, cycle: Array) -> Array:
    """Which candidate is kept; the incumbent, if the index that the acceptance gives is none."""
    choice = pieces.acceptance(key, losses, cycle)
    return jnp.where((choice >= 0) & (choice < losses.size), choice, 0)
