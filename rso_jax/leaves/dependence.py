"""Dependence: which inputs of a traced function can change which of its results.

Effects are no results: what is only printed changes nothing.
"""

from collections.abc import Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from rso_jax.incremental.jaxprs import called_by, inner_jaxprs, scan_parts

Inputs = frozenset[int]
"""Numbers of inputs of the traced function."""


def inputs_of_results(traced: ClosedJaxpr) -> list[Inputs]:
    """For each result the numbers of the inputs that it depends on."""
    inputs = [frozenset([i]) for i in range(len(traced.jaxpr.invars))]
    return _follow(traced.jaxpr, inputs)


def _follow(jaxpr: Jaxpr, inputs: Sequence[Inputs]) -> list[Inputs]:
    """What the results of a jaxpr depend on, from what its arguments do."""
    known: dict[Any, Inputs] = dict.fromkeys(jaxpr.constvars, frozenset())
    known.update(zip(jaxpr.invars, inputs, strict=True))

    def read(atom: Any) -> Inputs:
        return frozenset() if isinstance(atom, Literal) else known[atom]

    for eqn in jaxpr.eqns:
        results = _follow_equation(eqn, [read(atom) for atom in eqn.invars])
        known.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _follow_equation(eqn: Any, operands: list[Inputs]) -> list[Inputs]:
    name = eqn.primitive.name
    if (called := called_by(eqn)) is not None:
        return _follow(called.jaxpr, operands)
    if name == "shard_map":
        (inside,) = inner_jaxprs(eqn)
        return _follow(inside.jaxpr, operands)
    if name == "scan":
        return _follow_scan(eqn, operands)
    if name == "while":
        return _follow_while(eqn, operands)
    if name == "cond":
        branches = [_follow(branch.jaxpr, operands[1:]) for branch in inner_jaxprs(eqn)]
        return [operands[0].union(*results) for results in zip(*branches, strict=True)]
    return [_union(operands)] * len(eqn.outvars)


def _follow_scan(eqn: Any, operands: list[Inputs]) -> list[Inputs]:
    begin, carried = scan_parts(eqn)
    end = begin + carried
    body, carry = eqn.params["jaxpr"].jaxpr, operands[begin:end]
    while True:
        results = _follow(body, [*operands[:begin], *carry, *operands[end:]])
        after = _each_union(carry, results[:carried])
        if after == carry:
            return [*carry, *results[carried:]]
        carry = after


def _follow_while(eqn: Any, operands: list[Inputs]) -> list[Inputs]:
    asks, takes = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    of_condition, of_body = operands[:asks], operands[asks : asks + takes]
    condition, body = eqn.params["cond_jaxpr"].jaxpr, eqn.params["body_jaxpr"].jaxpr
    carry = operands[asks + takes :]
    while True:
        after = _each_union(carry, _follow(body, [*of_body, *carry]))
        (turns,) = _follow(condition, [*of_condition, *after])
        after = [turns | one for one in after]
        if after == carry:
            return carry
        carry = after


def _each_union(one: Sequence[Inputs], other: Sequence[Inputs]) -> list[Inputs]:
    return [a | b for a, b in zip(one, other, strict=True)]


def _union(inputs: Sequence[Inputs]) -> Inputs:
    return frozenset().union(*inputs)
