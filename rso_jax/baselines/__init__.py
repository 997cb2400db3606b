"""Baselines: other optimisers in the same loop, with the same data, metrics and counting."""

from rso_jax.baselines.evolution import evolution_method, open_es, pgpe, snes
from rso_jax.baselines.gradient import cosine_adam, cosine_sgd, gradient_method
from rso_jax.baselines.spsa import antithetic_slopes, spsa_method

__all__ = [
    "antithetic_slopes",
    "cosine_adam",
    "cosine_sgd",
    "evolution_method",
    "gradient_method",
    "open_es",
    "pgpe",
    "snes",
    "spsa_method",
]
