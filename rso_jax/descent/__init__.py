"""Descent by any optax optimiser, along gradients or along slopes that evaluations tell."""

from rso_jax.descent.method import descend
from rso_jax.descent.turns import descend_in_turn

__all__ = ["descend", "descend_in_turn"]
