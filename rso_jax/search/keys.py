"""Keys: which key draws what in a search.

A cycle has one key. Folded with the position of a leaf it is the key of that leaf's sweep; folded
with the numbers beyond, it draws what concerns the whole cycle. The key of a sweep is split into
streams, from which a visit (or a block) draws by its number: so the randomness of a decision does
not depend on where a sweep was interrupted, nor on what was decided before.
"""

from typing import NamedTuple

import jax
from jax import Array


def of_sweep(cycle_key: Array, position: int | Array) -> Array:
    """The key of the sweep of the leaf at this position among the flattened parameters."""
    return jax.random.fold_in(cycle_key, position)


def of_order(cycle_key: Array, leaves: int) -> Array:
    """The key by which the leaves, so many with those not searched, are put in order."""
    return jax.random.fold_in(cycle_key, leaves)


def of_arrangement(cycle_key: Array, leaves: int | Array) -> Array:
    """The key by which all sweeps of a cycle arrange mini-batches, where they share them."""
    return jax.random.fold_in(cycle_key, leaves + 1)


def of_aux(cycle_key: Array, leaves: int) -> Array:
    """The key that a loss takes when it is asked for what it returns besides its value."""
    return jax.random.fold_in(cycle_key, leaves + 2)


class Streams(NamedTuple):
    """Independent keys of one sweep; each is folded with the number of a visit or block."""

    proposals: Array
    """Draws perturbations."""
    decay: Array
    """Draws how weights are rounded as they decay; of the whole leaf."""
    arrangement: Array
    """Arranges the sweep's mini-batches; of the whole leaf."""
    minibatches: Array
    """Picks the mini-batch of a decision."""
    acceptances: Array
    """Is given to the acceptance."""
    losses: Array
    """Is given to a loss that takes a key."""


def streams(sweep_key: Array, visits: int) -> Streams:
    """The streams of a sweep of so many visits."""
    proposals, arrangement, of_visits = jax.random.split(sweep_key, 3)
    minibatches, acceptances = jax.random.split(of_visits)
    return Streams(
        proposals=proposals,
        # Proposals draw by the numbers of visits; this is the first number beyond them.
        decay=jax.random.fold_in(proposals, visits),
        arrangement=arrangement,
        minibatches=minibatches,
        acceptances=acceptances,
        # The two above come first among what this key splits into.
        losses=jax.random.fold_in(of_visits, 2),
    )
