"""CartPole: a cart pushed left or right so that the pole hinged to it does not fall.

Barto, Sutton, Anderson, "Neuronlike adaptive elements that can solve difficult learning control
problems", 1983, with the constants and the Euler integration of Gymnasium's CartPole-v1.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.environments.environment import Environment

GRAVITY = 9.8
CART, POLE = 1.0, 0.1
"""Masses."""
HALF_LENGTH = 0.5
"""Of the pole."""
FORCE = 10.0
TAU = 0.02
"""Seconds of a step."""
FARTHEST = 2.4
"""From the middle of the track, either way."""
STEEPEST = math.radians(12)
"""Angle of the pole, either way."""


def reset(key: Array) -> Array:
    """Position, velocity, angle and angular velocity, each within 0.05 of 0."""
    return jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)


def step(state: Array, action: Array) -> tuple[Array, Array, Array]:
    """The state after a push, to the left by action 0 and to the right by 1; 1 for every step."""
    _, x_dot, theta, theta_dot = state
    force = jnp.where(action == 1, FORCE, -FORCE)
    sin, cos = jnp.sin(theta), jnp.cos(theta)
    total = CART + POLE
    pushed = (force + POLE * HALF_LENGTH * theta_dot**2 * sin) / total
    turning = (GRAVITY * sin - cos * pushed) / (HALF_LENGTH * (4 / 3 - POLE * cos**2 / total))
    moving = pushed - POLE * HALF_LENGTH * turning * cos / total
    state = state + TAU * jnp.stack([x_dot, moving, theta_dot, turning])
    done = (jnp.abs(state[0]) > FARTHEST) | (jnp.abs(state[2]) > STEEPEST)
    return state, jnp.ones(()), done


cartpole = Environment(reset, step, lambda state: state, observations=4, outputs=2, limit=500)
"""Gymnasium's CartPole-v1."""
