"""Descent by any optax optimiser, along gradients or along slopes that evaluations tell."""

from rso_jax.descent.method import descend

__all__ = ["descend"]
