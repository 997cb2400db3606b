"""Order: which leaf a cycle sweeps after which, and the order of weights within one.

An order is a function ``(key, leaves) -> leaves`` that runs on the host, once per cycle.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.leaves import Leaf, sort_last_to_first, within_layer


class Order(Protocol):
    """Puts the leaves in the order of their sweeps."""

    def __call__(self, key: Array, leaves: Sequence[Leaf]) -> list[Leaf]:
        """Return all ``leaves``, in the order in which a cycle sweeps them."""
        ...


def last_to_first(key: Array, leaves: Sequence[Leaf]) -> list[Leaf]:
    """Layers from the last used to the first; in a layer kernels, then biases, then scales.

    The paper's order, and the authors' script's.
    """
    del key
    return sort_last_to_first(leaves)


def first_to_last(key: Array, leaves: Sequence[Leaf]) -> list[Leaf]:
    """Layers from the first used to the last; within a layer as in ``last_to_first``."""
    del key
    return sorted(leaves, key=lambda leaf: (leaf.depth, *within_layer(leaf)))


def random_order(key: Array, leaves: Sequence[Leaf]) -> list[Leaf]:
    """Leaves shuffled anew in each cycle."""
    ordered = sorted(leaves, key=lambda leaf: leaf.path)
    return [ordered[i] for i in jax.random.permutation(key, len(ordered)).tolist()]


def visiting_order(shape: tuple[int, ...]) -> Array:
    """Which weight of a leaf each visit of its sweep decides.

    Output unit outermost, input unit next, kernel positions innermost, as in the authors'
    script: for a kernel [height, width, in, out] height and width run fastest, out slowest.

    Args:
        shape: the leaf's shape, output axis last.

    Returns:
        Indices into the flattened leaf [weights], one per visit.
    """
    axes = range(len(shape))
    slowest_first = (*reversed(axes[-2:]), *axes[:-2])
    return jnp.arange(math.prod(shape)).reshape(shape).transpose(slowest_first).reshape(-1)
