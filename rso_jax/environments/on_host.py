"""Gymnasium's environments as black boxes: episodes on the host, behind a callback.

Nothing is known of such an environment but what it returns, which is all that methods without
gradients ask for. The callback is the only thing here that JAX sees of it; whatever else calls the
host may stand in its place.
"""

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from rso_jax.arguments import check_callable
from rso_jax.environments.episodes import Play, Policy, Rollout
from rso_jax.errors import UserError

if TYPE_CHECKING:
    import gymnasium

PyTree = Any


def play_in_gymnasium(name: str, policy: Policy, **options: Any) -> Play:
    """Episodes in an environment of Gymnasium, for any method without gradients.

    Episodes of a call run side by side, so that the policy is called once for the next action of
    all that are not over. A seed is that of Gymnasium's ``reset``. Candidates are played one after
    the other, also under ``jax.vmap``.

    Args:
        name: of a registered environment with a flat observation and discrete or box actions, such
            as ``"CartPole-v1"``.
        policy: ``(params, observations [episodes, observations])``, of NumPy arrays and without a
            call of JAX; ``rso_jax.environments.policy`` is one. Of discrete actions the largest
            output is taken; others are clipped to their space.
        **options: of ``gymnasium.make``.

    Raises:
        UserError: Gymnasium is not installed, or an environment that it does not have or that has
            other spaces.
    """
    check_callable("policy", policy)
    pool = [_make(name, options)]
    in_use = threading.Lock()  # devices of a mesh may call at the same time

    def play_on_host(params: PyTree, seeds: Array) -> tuple[NDArray[Any], NDArray[Any]]:
        with in_use:
            while len(pool) < len(seeds):
                pool.append(_make(name, options))
            plain = jax.tree.map(np.asarray, params)
            return _play(pool[: len(seeds)], policy, plain, np.asarray(seeds))

    def play(params: PyTree, seeds: Array) -> Rollout:
        shapes = [jax.ShapeDtypeStruct(jnp.shape(seeds), t) for t in (np.float32, np.int32)]
        found = jax.pure_callback(play_on_host, shapes, params, seeds, vmap_method="sequential")
        return Rollout(*found)

    return play


def _play(
    environments: Sequence["gymnasium.Env[Any, Any]"],
    policy: Policy,
    params: PyTree,
    seeds: NDArray[Any],
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Returns and steps of an episode in each of the environments."""
    returns, steps = np.zeros(len(seeds)), np.zeros(len(seeds), np.int32)
    seen = np.stack([one.reset(seed=int(s))[0] for one, s in zip(environments, seeds, strict=True)])
    alive = list(range(len(seeds)))
    space = environments[0].action_space
    while alive:
        outputs = policy(params, np.asarray(seen[alive], np.float32))
        going_on = []
        for i, action in zip(alive, _actions(space, np.asarray(outputs)), strict=True):
            seen[i], reward, terminated, truncated, _ = environments[i].step(action)
            returns[i] += float(reward)
            steps[i] += 1
            if not (terminated or truncated):
                going_on.append(i)
        alive = going_on
    return returns.astype(np.float32), steps


def _actions(space: Any, outputs: NDArray[Any]) -> NDArray[Any]:
    """One for each of the outputs [episodes, outputs]."""
    if hasattr(space, "n"):
        found: NDArray[Any] = space.start + outputs.argmax(-1)
        return found
    return np.clip(outputs, space.low, space.high).astype(space.dtype)


def _make(name: str, options: Any) -> "gymnasium.Env[Any, Any]":
    try:
        import gymnasium
    except ImportError:
        raise UserError(
            "Gymnasium is not installed; pip install 'rso_jax[rl]', or take one of the "
            "environments of JAX, such as rso_jax.environments.cartpole"
        ) from None
    try:
        made = gymnasium.make(name, **options)
    except (gymnasium.error.Error, TypeError) as error:
        raise UserError(f"Gymnasium makes no environment {name!r}: {error}") from None
    kinds = gymnasium.spaces.Discrete, gymnasium.spaces.Box
    flat = isinstance(made.observation_space, kinds[1]) and made.observation_space.shape
    if not flat or len(flat) != 1 or not isinstance(made.action_space, kinds):
        raise UserError(
            f"{name} has the observations {made.observation_space} and the actions "
            f"{made.action_space}; there must be a vector of the one and a discrete or box space "
            "of the other"
        )
    return made
