"""Acceptance: which of the candidates becomes the incumbent.

An acceptance is a pure function ``(key, losses, cycle) -> index``. Candidate 0 is the incumbent,
and a loss that was not finite arrives as +inf.
"""

from typing import Protocol

import jax
import jax.numpy as jnp
import optax
from jax import Array

from rso_jax.search.checks import check_number


class Acceptance(Protocol):
    """Picks among the incumbent and its candidates."""

    def __call__(self, key: Array, losses: Array, cycle: Array) -> Array:
        """Return the index of the candidate kept.

        Args:
            key: PRNG key of this visit.
            losses: [candidates], the incumbent first, all on the same mini-batch.
            cycle: cycles completed before this one, integer scalar, for a schedule.

        Returns:
            Integer scalar in [0, candidates).
        """
        ...


def greedy(key: Array, losses: Array, cycle: Array) -> Array:
    """The smallest loss; a tie keeps the incumbent (Algorithm 1 of the paper)."""
    del key, cycle
    return jnp.argmin(losses)


def sideways(key: Array, losses: Array, cycle: Array, *, move: bool = False) -> Array:
    """The smallest loss; a tie is drawn, each of those that share it being as likely.

    A loss made of steps, such as a count of errors, is the same for most candidates. ``greedy``
    then stands still; a step sideways costs nothing and may lead to the edge of the plateau.

    Args:
        key: PRNG key of this visit.
        losses: [candidates], the incumbent first.
        cycle: not used.
        move: leave the incumbent out of the draw, so that a tie always moves:
            ``functools.partial(sideways, move=True)``.

    Returns:
        Index of the candidate kept; the incumbent's where no loss is finite.
    """
    del cycle
    best = jnp.min(losses)
    ties = losses == best
    if move:
        ties = ties.at[0].set(ties[0] & ~jnp.any(ties[1:]))
    drawn = jax.random.randint(key, (), 0, jnp.sum(ties))
    return jnp.where(jnp.isfinite(best), jnp.argmax(jnp.cumsum(ties) > drawn), 0)


def last(key: Array, losses: Array, cycle: Array) -> Array:
    """The last candidate, whatever its loss: of a block its last joint step.

    For steps that are right on average but not on every small mini-batch; the incumbent stays
    only where the last candidate's loss is not finite.
    """
    del key, cycle
    return jnp.where(jnp.isfinite(losses[-1]), losses.size - 1, 0)


def metropolis(temperature: optax.ScalarOrSchedule) -> Acceptance:
    """Accept a worse candidate with probability ``exp(-(its loss - the incumbent's) / T)``.

    One of the candidates is drawn, and accepted or not by Metropolis et al., "Equation of State
    Calculations by Fast Computing Machines", 1953. With proposals as likely one way as back
    (``normal``, ``uniform``, ``fixed``), a fixed temperature, one mini-batch and no weight decay
    the weights are samples of the density proportional to ``exp(-loss / T)``.

    Args:
        temperature: T in units of the loss, above 0, or an optax schedule of the cycle; at 0
            only improvements are accepted.

    Raises:
        UserError: a temperature below 0, or none.
    """
    if not callable(temperature) and not isinstance(temperature, jax.Array):
        check_number("temperature", temperature, 0)

    def accept(key: Array, losses: Array, cycle: Array) -> Array:
        t = temperature(cycle) if callable(temperature) else temperature
        candidate_key, threshold_key = jax.random.split(key)
        candidate = jax.random.randint(candidate_key, (), 1, losses.size)
        # An exponential variable exceeds x with probability exp(-x).
        threshold = t * jax.random.exponential(threshold_key, (), losses.dtype)
        return jnp.where(losses[candidate] - losses[0] < threshold, candidate, 0)

    return accept
