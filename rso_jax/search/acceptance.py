"""Acceptance: which of the candidates becomes the incumbent.

An acceptance is a pure function ``(key, losses) -> index``. Candidate 0 is the incumbent, and a
loss that was not finite arrives as +inf.
"""

from typing import Protocol

import jax.numpy as jnp
from jax import Array


class Acceptance(Protocol):
    """Picks among the incumbent and its candidates."""

    def __call__(self, key: Array, losses: Array) -> Array:
        """Return the index of the candidate kept.

        Args:
            key: PRNG key of this visit.
            losses: [candidates], the incumbent first, all on the same mini-batch.

        Returns:
            Integer scalar in [0, candidates).
        """
        ...


def greedy(key: Array, losses: Array) -> Array:
    """The smallest loss; a tie keeps the incumbent (Algorithm 1 of the paper)."""
    del key
    return jnp.argmin(losses)
