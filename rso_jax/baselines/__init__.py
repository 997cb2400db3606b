"""Baselines: other optimisers in the same loop, with the same data, metrics and counting."""

from rso_jax.baselines.evolution import evolution_method, open_es, pgpe
from rso_jax.baselines.gradient import cosine_adam, cosine_sgd, gradient_method

__all__ = [
    "cosine_adam",
    "cosine_sgd",
    "evolution_method",
    "gradient_method",
    "open_es",
    "pgpe",
]
