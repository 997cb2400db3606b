"""Rules of primitives, a module for each kind; importing this registers all of them."""

from rso_jax.incremental.rules import (  # noqa: F401 (each registers its rules)
    axes,
    elementwise,
    indexing,
    joining,
    products,
    reductions,
)
from rso_jax.incremental.rules.registry import RULES, RULES_FOR_DENSE, apply, rule_for

__all__ = ["RULES", "RULES_FOR_DENSE", "apply", "rule_for"]
