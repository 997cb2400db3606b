"""Mountain car: a weak car in a valley that has to swing to climb out of it.

Moore, "Efficient memory-based learning for robot control", 1990; with continuous actions and the
constants of Gymnasium's MountainCarContinuous-v0.
"""

import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.environments.environment import Environment

POWER, GRAVITY = 0.0015, 0.0025
LEFT, RIGHT, GOAL = -1.2, 0.6, 0.45
"""Ends of the track, and the position that is to be reached."""
FASTEST = 0.07
"""Either way."""


def reset(key: Array) -> Array:
    """A position near the bottom of the valley, at rest."""
    return jnp.stack([jax.random.uniform(key, (), minval=-0.6, maxval=-0.4), jnp.zeros(())])


def step(state: Array, action: Array) -> tuple[Array, Array, Array]:
    """The state after a push [1]; 100 for the goal, less a tenth of the square of every push."""
    position, velocity = state
    velocity = velocity + action[0] * POWER - GRAVITY * jnp.cos(3 * position)
    velocity = jnp.clip(velocity, -FASTEST, FASTEST)
    position = jnp.clip(position + velocity, LEFT, RIGHT)
    velocity = jnp.where((position == LEFT) & (velocity < 0), 0, velocity)
    done = (position >= GOAL) & (velocity >= 0)
    reward = jnp.where(done, 100.0, 0.0) - 0.1 * action[0] ** 2
    return jnp.stack([position, velocity]), reward, done


mountain_car = Environment(
    reset, step, lambda state: state, observations=2, outputs=1, limit=999, bound=1.0
)
"""Gymnasium's MountainCarContinuous-v0."""
