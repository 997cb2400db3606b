"""Episodes played by a policy, in an environment of JAX."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rso_jax.environments.environment import Environment

PyTree = Any

Policy = Callable[[PyTree, Any], Any]
"""``(params, observation)``: outputs [outputs]."""


class Rollout(NamedTuple):
    """Some episodes."""

    returns: Array
    """The sum of the rewards of each, [episodes]."""
    steps: Array
    """Actions taken in each, [episodes], int32."""


Play = Callable[[PyTree, Array], Rollout]
"""``(params, seeds)``: an episode for each of the seeds [episodes], the same for any parameters."""


def rollout(environment: Environment, policy: Policy, params: PyTree, keys: Array) -> Rollout:
    """One episode for each key, side by side, until the last of them is over.

    What an episode begins with follows from its key alone, so that the same keys make returns of
    different parameters comparable. One that is over takes no more steps and gains no more.

    Args:
        environment: in which to act.
        policy: what acts.
        params: of the policy.
        keys: PRNG keys [episodes].
    """
    return jax.vmap(lambda key: _episode(environment, policy, params, key))(keys)


def play_in(environment: Environment, policy: Policy) -> Play:
    """``rollout`` as what tasks and losses take: a function of parameters and seeds.

    Args:
        environment: in which to act.
        policy: what acts.
    """

    def play(params: PyTree, seeds: Array) -> Rollout:
        return rollout(environment, policy, params, jax.vmap(jax.random.key)(seeds))

    return play


def _episode(environment: Environment, policy: Policy, params: PyTree, key: Array) -> Rollout:
    def goes_on(carry: tuple[Any, Array, Rollout]) -> Array:
        _, done, so_far = carry
        return ~done & (so_far.steps < environment.limit)

    def act(carry: tuple[Any, Array, Rollout]) -> tuple[Any, Array, Rollout]:
        state, _, so_far = carry
        output = policy(params, environment.observe(state))
        state, reward, done = environment.step(state, _action(environment, output))
        return state, done, Rollout(so_far.returns + reward, so_far.steps + 1)

    nothing = Rollout(jnp.zeros(()), jnp.zeros((), jnp.int32))
    begin = environment.reset(key), jnp.zeros((), bool), nothing
    return lax.while_loop(goes_on, act, begin)[2]


def _action(environment: Environment, output: Array) -> Array:
    if environment.bound is None:
        return jnp.argmax(output)
    return jnp.clip(output, -environment.bound, environment.bound)
