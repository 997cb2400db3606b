"""Rules of primitives, a module for each kind; importing this registers all of them.

What a rule of one's own needs is here: ``rule_for``, ``apply``, and the kinds of values.
"""

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
from rso_jax.incremental.values import Dense, Range, Same, Sliced, Value

__all__ = [
    "RULES",
    "Dense",
    "Range",
    "Same",
    "Sliced",
    "Value",
    "apply",
    "result_shape",
    "rule_for",
    "temporary_rules",
    "withdraw_rule",
]
