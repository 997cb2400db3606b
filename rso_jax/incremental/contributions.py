"""Contributions: what each weight of a column adds to its pre-activations."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import Literal

from rso_jax.incremental.directions import (
    DIRECTION_RULES,
    OneHot,
    Shifted,
    Spread,
    cut,
    lay_out,
    multiply_spread,
    one_hot_at,
    pool,
    spread,
    transpose_spread,
)
from rso_jax.incremental.jaxprs import evaluate, variables
from rso_jax.incremental.linear import PRODUCTS, Entry, is_narrow, rounds


def direction(
    entry: Entry, weights: Any, values: Mapping[Any, Array], place: OneHot
) -> list[Array]:
    """The pre-activations of a column with one weight of 1 and the others 0.

    Args:
        entry: of the loss.
        weights: variable of the weights.
        values: of the variables that the entry takes besides the weights.
        place: the weight.
    """
    found: dict[Any, Any] = {weights: place}
    known = dict(values)
    for eqn in entry.eqns:
        mine = [v for v in variables(eqn.invars) if v in found]
        operands = [
            a.val if isinstance(a, Literal) else found[a] if a in found else known[a]
            for a in eqn.invars
        ]
        if not mine:
            known.update(zip(eqn.outvars, evaluate(eqn, operands), strict=True))
            continue
        (value,) = (found[v] for v in mine)
        found[eqn.outvars[0]] = _through(eqn, value, operands)
    return [cut(found[v]) if isinstance(found[v], Shifted) else found[v] for v in entry.gives]


def preactivations(
    entry: Entry, weights: Any, values: Mapping[Any, Array], column: Array
) -> list[Array] | None:
    """The pre-activations of weights that are spread, as the sum of what each weight adds.

    That is known ahead of them; a product with the spread weights would go through the whole input
    again.

    Args:
        entry: of the loss.
        weights: variable of the weights.
        values: of the variables that the entry takes besides the weights.
        column: the weights.

    Returns:
        None where weights are not spread, or rounded.
    """
    mine = set(variables([weights]))
    spreads = False
    for eqn in entry.eqns:
        found = [i for i, a in enumerate(eqn.invars) if not isinstance(a, Literal) and a in mine]
        if not found:
            continue
        mine.update(eqn.outvars)
        if rounds(eqn) or eqn.primitive.name == "add":
            return None
        spreads |= eqn.primitive.name == "dot_general" and not is_narrow(eqn, found[0])
    if not spreads:
        return None
    added = jax.vmap(
        lambda k: direction(entry, weights, values, one_hot_at(k, weights.aval.shape))
    )(jnp.arange(column.size))
    return [jnp.tensordot(column.reshape(-1), one, 1).astype(one.dtype) for one in added]


def _through(eqn: Any, value: Any, operands: Sequence[Any]) -> Any:
    """The direction after an operation, of that before it, which is among the operands."""
    name, result = eqn.primitive.name, eqn.outvars[0].aval
    if isinstance(value, OneHot) and name in DIRECTION_RULES:
        position = next(i for i, operand in enumerate(operands) if operand is value)
        if name not in PRODUCTS or is_narrow(eqn, position):
            return DIRECTION_RULES.apply(eqn, operands)
        spread_out = spread(eqn, operands) if name == "dot_general" else None
        if spread_out is not None:
            return spread_out
    if isinstance(value, Spread):
        if name == "transpose":
            return transpose_spread(eqn, value)
        position = next(i for i, operand in enumerate(operands) if operand is value)
        if name == "dot_general" and is_narrow(eqn, position):
            return multiply_spread(eqn, operands)
    if isinstance(value, Shifted):
        pooled = pool(eqn, value) if name == "reduce_window_sum" else None
        if pooled is not None or name == "add":
            return value if pooled is None else pooled
    array = _laid_out(value, result.dtype)
    if name == "add":
        return jnp.broadcast_to(array, result.shape)
    (found,) = evaluate(eqn, [array if operand is value else operand for operand in operands])
    return found


def _laid_out(value: Any, dtype: Any) -> Array:
    """A direction as an array."""
    if isinstance(value, OneHot):
        return jnp.zeros(value.shape, dtype).at[value.place].set(1)
    if isinstance(value, Spread):
        return lay_out(value)
    return cut(value) if isinstance(value, Shifted) else value
