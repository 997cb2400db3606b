"""Environments in which policies act: pure functions of JAX, and Gymnasium's as black boxes."""

from rso_jax.environments.acrobot import acrobot
from rso_jax.environments.cartpole import cartpole
from rso_jax.environments.environment import Environment
from rso_jax.environments.episodes import Play, Policy, Rollout, play_in, rollout
from rso_jax.environments.layers import init_policy, policy
from rso_jax.environments.mountain_car import mountain_car
from rso_jax.environments.on_host import play_in_gymnasium
from rso_jax.environments.pendulum import pendulum

__all__ = [
    "Environment",
    "Play",
    "Policy",
    "Rollout",
    "acrobot",
    "cartpole",
    "init_policy",
    "mountain_car",
    "pendulum",
    "play_in",
    "play_in_gymnasium",
    "policy",
    "rollout",
]
