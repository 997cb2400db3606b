"""The registry of rules: for a primitive, the kinds of its results from those of its operands.

A rule is a function ``(eqn, operands) -> value, values or None``. It is called when at least one
operand is sliced and the others are sliced or the same; ``None`` means that it has nothing to say
about these. Then, as for a primitive without a rule, the operands are made whole and the result
is dense. So a rule makes a candidate cheaper; it is never needed for a loss to be right.

``eqn`` is an equation of a jaxpr.
"""

from collections.abc import Callable, Sequence
from typing import Any

from jax import Array

from rso_jax.incremental.jaxprs import evaluate
from rso_jax.incremental.values import Value

Rule = Callable[[Any, Sequence[Value]], Value | list[Value] | None]
RULES: dict[str, Rule] = {}
RULES_FOR_DENSE: dict[str, Rule] = {}
"""Those that are asked where an operand is dense, too."""


def rule_for(*primitives: str, dense: bool = False) -> Callable[[Rule], Rule]:
    """Register a rule under the names of primitives.

    Args:
        primitives: names as ``jax.make_jaxpr`` prints them.
        dense: whether the rule is also asked where some operands are dense.
    """

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(primitives, rule))
        if dense:
            RULES_FOR_DENSE.update(dict.fromkeys(primitives, rule))
        return rule

    return register


def apply(eqn: Any, *operands: Array, **params: Any) -> Array:
    """The result of an equation that has one, for other operands and perhaps other parameters."""
    if params:
        eqn = eqn.replace(params=eqn.params | params)
    (result,) = evaluate(eqn, operands)
    return result


def result_shape(eqn: Any) -> tuple[int, ...]:
    """Shape of the first result, with the operands whole."""
    shape: tuple[int, ...] = eqn.outvars[0].aval.shape
    return shape
