"""Pendulum: a pole on a weak motor that is to be swung up and held there; Gymnasium's Pendulum-v1.

The motor cannot lift the pole at once, so that it has to be swung.
"""

import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.environments.environment import Environment

GRAVITY = 10.0
TAU = 0.05
"""Seconds of a step."""
FASTEST = 8.0
"""Angular velocity, either way."""
TORQUE = 2.0
"""Either way."""


def reset(key: Array) -> Array:
    """Any angle, 0 upright, and an angular velocity of at most 1 either way."""
    high = jnp.array([jnp.pi, 1.0])
    return jax.random.uniform(key, (2,), minval=-high, maxval=high)


def step(state: Array, action: Array) -> tuple[Array, Array, Array]:
    """The state after a torque [1]; what it costs grows with angle, velocity and torque."""
    theta, theta_dot = state
    torque = action[0]
    upright = (theta + jnp.pi) % (2 * jnp.pi) - jnp.pi
    cost = upright**2 + 0.1 * theta_dot**2 + 0.001 * torque**2
    theta_dot = theta_dot + (1.5 * GRAVITY * jnp.sin(theta) + 3 * torque) * TAU
    theta_dot = jnp.clip(theta_dot, -FASTEST, FASTEST)
    state = jnp.stack([theta + theta_dot * TAU, theta_dot])
    return state, -cost, jnp.zeros((), bool)


def observe(state: Array) -> Array:
    """Cosine and sine of the angle, and the angular velocity."""
    return jnp.stack([jnp.cos(state[0]), jnp.sin(state[0]), state[1]])


pendulum = Environment(reset, step, observe, observations=3, outputs=1, limit=200, bound=TORQUE)
"""Gymnasium's Pendulum-v1."""
