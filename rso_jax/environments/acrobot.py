"""Acrobot: two links, of which only the joint between them is driven, to be swung above a line.

Sutton, "Generalization in reinforcement learning: successful examples using sparse coarse coding",
1996, with the equations of Sutton and Barto's book that Gymnasium's Acrobot-v1 has by default:
every mass, length and moment of inertia is 1.
"""

import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.environments.environment import Environment

GRAVITY = 9.8
MIDDLE = 0.5
"""Where the centre of mass of a link lies."""
TAU = 0.2
"""Seconds of a step."""


def reset(key: Array) -> Array:
    """Two angles and their velocities, each within 0.1 of hanging at rest."""
    return jax.random.uniform(key, (4,), minval=-0.1, maxval=0.1)


def step(state: Array, action: Array) -> tuple[Array, Array, Array]:
    """The state after a torque of action - 1; -1 for every step but the last."""
    state = _runge_kutta(state, jnp.asarray(action, state.dtype) - 1)
    angles = (state[:2] + jnp.pi) % (2 * jnp.pi) - jnp.pi
    fastest = jnp.array([4 * jnp.pi, 9 * jnp.pi])
    state = jnp.concatenate([angles, jnp.clip(state[2:], -fastest, fastest)])
    done = -jnp.cos(state[0]) - jnp.cos(state[1] + state[0]) > 1
    return state, jnp.where(done, 0.0, -1.0), done


def observe(state: Array) -> Array:
    """Cosine and sine of both angles, and their velocities."""
    cos, sin = jnp.cos(state[:2]), jnp.sin(state[:2])
    return jnp.stack([cos[0], sin[0], cos[1], sin[1], state[2], state[3]])


def _runge_kutta(state: Array, torque: Array) -> Array:
    """The state after one step of the fourth order."""
    first = _slope(state, torque)
    second = _slope(state + TAU / 2 * first, torque)
    third = _slope(state + TAU / 2 * second, torque)
    fourth = _slope(state + TAU * third, torque)
    return state + TAU / 6 * (first + 2 * second + 2 * third + fourth)


def _slope(state: Array, torque: Array) -> Array:
    """What angles and velocities change by, per second."""
    one, two, one_dot, two_dot = state
    sin, cos = jnp.sin(two), jnp.cos(two)
    d1 = 2 * MIDDLE**2 + 1 + 2 * MIDDLE * cos + 2
    d2 = MIDDLE**2 + MIDDLE * cos + 1
    phi2 = MIDDLE * GRAVITY * jnp.sin(one + two)
    phi1 = (
        -MIDDLE * sin * (two_dot**2 + 2 * two_dot * one_dot)
        + (MIDDLE + 1) * GRAVITY * jnp.sin(one)
        + phi2
    )
    pulled = torque + d2 / d1 * phi1 - MIDDLE * one_dot**2 * sin - phi2
    two_dot_dot = pulled / (MIDDLE**2 + 1 - d2**2 / d1)
    one_dot_dot = -(d2 * two_dot_dot + phi1) / d1
    return jnp.stack([one_dot, two_dot, one_dot_dot, two_dot_dot])


acrobot = Environment(reset, step, observe, observations=6, outputs=3, limit=500)
"""Gymnasium's Acrobot-v1."""
