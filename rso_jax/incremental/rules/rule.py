"""What a rule is: for a primitive, the kinds of its results from those of its operands.

A rule is a function ``(eqn, operands) -> value, values or None``. It is called when at least one
operand is sliced and the others are sliced or the same; ``None`` means that it has nothing to say
about these. Then, as for a primitive without a rule, the operands are made whole and the result
is dense. So a rule makes a candidate cheaper; it is never needed for a loss to be right.

``eqn`` is an equation of a jaxpr.
"""

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from jax import Array

from rso_jax.errors import UserError
from rso_jax.incremental.jaxprs import evaluate, is_wrapper
from rso_jax.incremental.registry import Registry
from rso_jax.incremental.values import Dense, Value, check_value

Rule = Callable[[Any, Sequence[Value]], Value | list[Value] | None]


def check_results(eqn: Any, found: Value | list[Value] | None) -> None:
    """Refuse what is no value of each result of an equation.

    Args:
        eqn: the equation.
        found: what a rule gives for it.

    Raises:
        TypeError, ValueError: it is something else, or of another shape or type than the results.
    """
    if found is None:
        return
    values = found if isinstance(found, list) else [found]
    if len(values) != len(eqn.outvars):
        raise ValueError(f"it gives {len(values)} values of {len(eqn.outvars)} results")
    for value, result in zip(values, eqn.outvars, strict=True):
        check_value(value, result.aval.shape, result.aval.dtype)


RULES: Registry[Rule] = Registry("rule", check_results)


def rule_for(
    *primitives: str, dense: bool = False, replace: bool = False
) -> Callable[[Rule], Rule]:
    """Register the rule that is decorated under the names of primitives.

    Programs traced before keep the rules that they were traced with.

    Args:
        primitives: names as ``jax.make_jaxpr`` prints them.
        dense: whether the rule is also asked where some operands are dense.
        replace: whether it may take the place of another rule.

    Raises:
        UserError: no names; one that has a rule already, without ``replace``; or one whose rule
            would not be asked, because the function that it holds is looked into.
    """
    register = RULES.register(*primitives, replace=replace)
    for name in primitives:
        if name == "scan" or is_wrapper(name):
            raise UserError(
                f"{name} holds a function that is looked into: register rules for what is in it"
            )

    def decorated(rule: Rule) -> Rule:
        if not callable(rule):
            raise UserError(f"a rule is a function of an equation and its operands; got {rule!r}")
        register(rule if dense else _unless_dense(rule))
        return rule

    return decorated


def _unless_dense(rule: Rule) -> Rule:
    @functools.wraps(rule)
    def asked(eqn: Any, operands: Sequence[Value]) -> Value | list[Value] | None:
        return None if any(isinstance(v, Dense) for v in operands) else rule(eqn, operands)

    return asked


def withdraw_rule(*primitives: str) -> None:
    """Take back the rule registered last; the one whose place it took, if any, holds again.

    Args:
        primitives: names under which it was registered.

    Raises:
        UserError: a name has no rule.
    """
    RULES.withdraw(*primitives)


def temporary_rules() -> AbstractContextManager[None]:
    """A context after which rules are what they were before it, whatever is registered inside."""
    return RULES.restored()


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
