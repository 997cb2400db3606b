"""Rules of primitives, a module for each kind; importing this registers all of them."""

from rso_jax.incremental.rules import (  # noqa: F401 (each registers its rules)
    axes,
    convolutions,
    elementwise,
    indexing,
    joining,
    products,
    reductions,
)
from rso_jax.incremental.rules.rule import (
    RULES,
    apply,
    result_shape,
    rule_for,
    temporary_rules,
    withdraw_rule,
)

__all__ = ["RULES", "apply", "result_shape", "rule_for", "temporary_rules", "withdraw_rule"]
