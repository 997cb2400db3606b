"""The interpreter: a traced loss evaluated on values that know what a column can change."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.extend.core import Jaxpr, Literal

from rso_jax.incremental.jaxprs import CALLS, called_by, evaluate
from rso_jax.incremental.rules import RULES
from rso_jax.incremental.sums import SUM_RULES
from rso_jax.incremental.values import Dense, Same, Sum, Value, whole


def interpret(
    jaxpr: Jaxpr, constants: Sequence[Any], inputs: Sequence[Value], o: Array
) -> list[Value]:
    """Values of a jaxpr's outputs from those of its inputs.

    Args:
        jaxpr: the traced function.
        constants: of its constvars.
        inputs: a value for each input.
        o: index of the column, integer scalar.
    """
    values: dict[Any, Value] = {}

    def read(atom: Any) -> Value:
        constant = isinstance(atom, Literal)
        return Same(jnp.asarray(atom.val, atom.aval.dtype)) if constant else values[atom]

    values.update(zip(jaxpr.constvars, map(Same, constants), strict=True))
    values.update(zip(jaxpr.invars, inputs, strict=True))
    for eqn in jaxpr.eqns:
        operands = [read(atom) for atom in eqn.invars]
        results = _by_rule(eqn, operands, o)
        if results is None:
            # Whoever uses a sum later takes it as it is added up here.
            for atom, value in zip(eqn.invars, operands, strict=True):
                if isinstance(value, Sum):
                    values[atom] = Dense(whole(value, o))
            arrays = [whole(read(atom), o) for atom in eqn.invars]
            results = [Dense(result) for result in evaluate(eqn, arrays)]
        values.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _by_rule(eqn: Any, operands: list[Value], o: Array) -> list[Value] | None:
    name = eqn.primitive.name
    # Control flow (scan, while, cond) is not looked into; what goes in changed comes out dense.
    if name in CALLS:
        closed = called_by(eqn)
        return interpret(closed.jaxpr, closed.consts, operands, o)
    if all(isinstance(v, Same) for v in operands):
        return [Same(result) for result in evaluate(eqn, [whole(v, o) for v in operands])]
    # What remains depends on the column.
    found: Value | None = None
    if any(isinstance(v, Dense | Sum) for v in operands):
        if name in SUM_RULES:
            found = SUM_RULES[name](eqn, operands)
    elif name in RULES:
        found = RULES[name](eqn, operands, o)
    return None if found is None else [found]
