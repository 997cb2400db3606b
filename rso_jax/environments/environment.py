"""An environment: what an agent acts in, as pure functions of an explicit state."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jax import Array

State = Any


class Environment(NamedTuple):
    """How one episode begins and goes on; many run side by side by ``jax.vmap``.

    ::

        state = environment.reset(key)
        state, reward, done = environment.step(state, action)
        observation = environment.observe(state)
    """

    reset: Callable[[Array], State]
    """``(key)``: the state in which an episode begins, a pytree of arrays."""
    step: Callable[[State, Array], tuple[State, Array, Array]]
    """``(state, action)``: the state after one action, its reward, and whether the episode is over;
    not because of ``limit``, which is the business of whoever counts the steps."""
    observe: Callable[[State], Array]
    """``(state)``: what a policy sees of it, [observations]."""
    observations: int
    """How many numbers a policy sees."""
    outputs: int
    """How many numbers a policy returns: one for each discrete action, of which the largest is
    taken, or those that make up a continuous action."""
    limit: int
    """Steps after which an episode is over whatever its state."""
    bound: float | None = None
    """Of a continuous action, which is clipped to lie between -bound and bound; None where actions
    are discrete."""
