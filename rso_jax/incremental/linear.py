"""The linear entry: how far the weights of a column reach before anything nonlinear happens.

A convolution or a product makes a column's **pre-activation** z out of its weights, linearly. One
weight changed by d changes z by d times a **direction** that no weight influences. Where the
operations up to z have a rule here, a candidate needs no product with the whole column.

Where float32 weights are rounded to bfloat16 for a product that adds up in float32, z is made of
rounded weights and a change moves it unrounded: rounding is taken for the identity, whose direction
is that of the weight itself. A change below the resolution of bfloat16 is so not lost.
"""

import math
from collections import Counter
from collections.abc import Container, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from rso_jax.incremental.directions import DIRECTION_RULES
from rso_jax.incremental.jaxprs import leading_to, variables


class Entry(NamedTuple):
    """The part of a loss in which the weights act linearly."""

    eqns: list[Any]
    """In order, from the weights to the pre-activations, with the fills that they take."""
    gives: list[Any]
    """Variables: the pre-activations, which are all that the rest takes of them."""


PRODUCTS = ("dot_general", "conv_general_dilated")
# What acts linearly on a pre-activation, and does not make it larger.
_LINEAR = frozenset(
    (
        "convert_element_type",
        "copy",
        "expand_dims",
        "neg",
        "reduce_sum",
        "reduce_window_sum",
        "reshape",
        "squeeze",
        "transpose",
    )
)


def linear_entry(
    eqns: Sequence[Any],
    weights: Any,
    results: Sequence[Any],
    *,
    constants: Container[Any] = (),
    to_products: bool = False,
) -> Entry:
    """The operations that the weights pass before the first nonlinear ones.

    Args:
        eqns: all that depends on the weights, in order.
        weights: their variable.
        results: variables of the function's results.
        constants: variables of arrays that are the same whatever the function is given: what they
            make of weights, as bins of pixels, are weights.
        to_products: whether it ends at the products and convolutions, though what follows them,
            such as a mean, is linear too: for pre-activations that are moved themselves. What
            scales them, is added to them or pools them by windows still belongs to them, so that
            they are what an activation sees. Weights looked up in a table, scales and shifts have
            some then, too.

    Returns:
        The entry; empty where the weights meet no product or convolution, or where that is
        narrower than 32 bits, so that small steps added up would be lost.
    """
    one_hot: set[Any] = {weights}
    linear: set[Any] = set()
    sums: set[Any] = set()
    dependent: set[Any] = {weights}
    taken, entry = list(results), []
    uses = Counter(variables([*results, *(a for eqn in eqns for a in eqn.invars)]))
    for eqn in eqns:
        mine = [v for v in variables(eqn.invars) if v in dependent]
        if not mine:
            entry.append(eqn)
            continue
        dependent.update(eqn.outvars)
        pools = eqn.primitive.name == "reduce_window_sum"
        beyond = to_products and mine[0] in linear and not pools
        kind = None if beyond else _kind(eqn, mine, weights, one_hot, linear)
        if _is_spread(eqn, mine, one_hot, constants):
            kind = one_hot
        if kind is None and to_products:
            kind = _affine_kind(eqn, mine, one_hot, linear, sums, uses)
        if kind is linear and eqn.primitive.name == "add":
            sums.update(eqn.outvars)
        if kind is None:
            taken += mine
        else:
            kind.update(eqn.outvars)
            entry.append(eqn)
    gives = [v for v in dict.fromkeys(variables(taken)) if v in linear]
    return Entry(leading_to(gives, entry), gives)


def _kind(
    eqn: Any, mine: list[Any], weights: Any, one_hot: set[Any], linear: set[Any]
) -> set[Any] | None:
    """Where a result belongs: one-hot, linear in the weights, or neither.

    Args:
        eqn: an operation.
        mine: its operands that depend on the weights.
        weights: their variable.
        one_hot: variables of arrays that are weights in some order.
        linear: variables of pre-activations.
    """
    if len(mine) != 1 or len(eqn.outvars) != 1 or eqn.effects:
        return None
    (value,), name, result = mine, eqn.primitive.name, eqn.outvars[0].aval
    if value not in one_hot | linear:
        return None
    if value in one_hot and rounds(eqn):
        return one_hot
    if not _wide(eqn):
        return None
    if value in one_hot:
        if name in PRODUCTS:
            return linear if is_narrow(eqn, eqn.invars.index(value)) else None
        if value.aval.dtype.itemsize < weights.aval.dtype.itemsize:
            return None  # rounded for another purpose than a product: that is part of the loss
        same_size = math.prod(result.shape) == math.prod(value.aval.shape)
        return one_hot if name in DIRECTION_RULES and same_size else None
    if name == "mul" or (name == "div" and eqn.invars[0] is value):
        return linear if result.shape == value.aval.shape else None
    return linear if name in _LINEAR else None


def _is_spread(eqn: Any, mine: list[Any], one_hot: set[Any], constants: Container[Any]) -> bool:
    """Whether weights meet nothing but constants in a product."""
    others = [v for v in variables(eqn.invars) if v not in mine]
    products = eqn.primitive.name in PRODUCTS and mine[0] in one_hot and _wide(eqn)
    return products and bool(others) and all(v in constants for v in others)


def _affine_kind(
    eqn: Any,
    mine: list[Any],
    one_hot: set[Any],
    linear: set[Any],
    sums: set[Any],
    uses: Counter[Any],
) -> set[Any] | None:
    """Where a result belongs that ``_kind`` does not know, for pre-activations that are moved.

    They go on where something is added to them, or scales them before, so that they change by as
    much as what is added; and as long as nothing else takes what they were: else both would be
    moved. They begin where a table is looked up, and where a scale or a shift meets something
    larger. Weights that are masked or scaled remain weights.

    Args:
        eqn: as of ``_kind``.
        mine: likewise.
        one_hot: likewise.
        linear: likewise.
        sums: those of them to which something was added.
        uses: how often each variable is taken.
    """
    if len(mine) != 1 or len(eqn.outvars) != 1 or eqn.effects:
        return None
    (value,), name, result = mine, eqn.primitive.name, eqn.outvars[0].aval
    if (
        value not in one_hot | linear
        or result.dtype != value.aval.dtype
        or result.dtype.itemsize < 4
    ):
        return None
    scales = name == "mul" or (name == "div" and eqn.invars[0] is value)
    same = math.prod(result.shape) == math.prod(value.aval.shape)
    if value in linear:
        moved = name == "add" or (scales and value not in sums)
        return linear if moved and same and uses[value] == 1 else None
    if name == "gather" and eqn.invars[0] is value:
        return linear
    if not scales and name != "add":
        return None
    return one_hot if same else linear


def rounds(eqn: Any) -> bool:
    """Whether it rounds float32 to bfloat16."""
    return (
        eqn.primitive.name == "convert_element_type"
        and eqn.invars[0].aval.dtype == jnp.float32
        and eqn.outvars[0].aval.dtype == jnp.bfloat16
    )


def _wide(eqn: Any) -> bool:
    """Whether a result has at least 32 bits, and no fewer than what it is made of."""
    dtypes = [atom.aval.dtype for atom in eqn.invars]
    result = eqn.outvars[0].aval.dtype
    return (
        jnp.issubdtype(result, jnp.floating)
        and all(jnp.issubdtype(d, jnp.floating) for d in dtypes)
        and (eqn.primitive.name not in (*PRODUCTS, *_LINEAR) or result.itemsize >= 4)
        and result.itemsize >= max(d.itemsize for d in dtypes)
    )


def is_narrow(eqn: Any, position: int) -> bool:
    """Whether the weights give a product one output: their axes, but contracted ones, are 1."""
    shape = eqn.invars[position].aval.shape
    if eqn.primitive.name == "dot_general":
        contracted = eqn.params["dimension_numbers"][0][position]
        return all(n == 1 or axis in contracted for axis, n in enumerate(shape))
    groups = eqn.params["feature_group_count"] * eqn.params["batch_group_count"]
    outputs = shape[eqn.params["dimension_numbers"].rhs_spec[0]]
    return position == 1 and groups == 1 and outputs == 1
