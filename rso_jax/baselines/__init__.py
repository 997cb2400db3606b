"""Baselines: gradient methods in the same loop, with the same data, metrics and counting."""

from rso_jax.baselines.sgd import cosine_sgd, gradient_method

__all__ = ["cosine_sgd", "gradient_method"]
