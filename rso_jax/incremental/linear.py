"""The linear entry: how far the weights of a column reach before anything nonlinear happens.

A convolution or a product makes a column's **pre-activation** z out of its weights, linearly. One
weight changed by d changes z by d times a **direction** that no weight influences. Where the
operations up to z have a rule here, a candidate needs no product with the whole column.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import Literal

from rso_jax.incremental.jaxprs import evaluate, leading_to, variables


class OneHot(NamedTuple):
    """An array that is 1 at one place and 0 elsewhere: a column with one weight of 1."""

    shape: tuple[int, ...]
    place: tuple[Array, ...]
    """Index of the 1 along every axis, traced."""


class Entry(NamedTuple):
    """The part of a loss in which the weights act linearly."""

    eqns: list[Any]
    """From the weights to the pre-activations, in order."""
    gives: list[Any]
    """Variables: the pre-activations, which are all that the rest takes of them."""


# From an equation and its operands, of which one is one-hot.
Rule = Callable[[Any, Sequence[Any]], OneHot | Array]
_RULES: dict[str, Rule] = {}
_PRODUCTS = ("dot_general", "conv_general_dilated")
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


def _rule_for(*primitives: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(primitives, rule))
        return rule

    return register


def linear_entry(eqns: Sequence[Any], weights: Any, results: Sequence[Any]) -> Entry:
    """The operations that the weights pass before the first nonlinear ones.

    Args:
        eqns: all that depends on the weights, in order.
        weights: their variable.
        results: variables of the function's results.

    Returns:
        The entry; empty where the weights meet no product or convolution, or where that is
        narrower than 32 bits, so that small steps added up would be lost.
    """
    one_hot: set[Any] = {weights}
    linear: set[Any] = set()
    taken = list(results)
    for eqn in eqns:
        kind = _kind(eqn, one_hot, linear)
        if kind is None:
            taken += variables(eqn.invars)
        else:
            kind.update(eqn.outvars)
    gives = [v for v in dict.fromkeys(taken) if v in linear]
    reached = [eqn for eqn in eqns if eqn.outvars[0] in one_hot | linear]
    return Entry(leading_to(gives, reached), gives)


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
    for eqn in entry.eqns:
        operands = [
            a.val if isinstance(a, Literal) else found[a] if a in found else values[a]
            for a in eqn.invars
        ]
        (value,) = (found[v] for v in variables(eqn.invars) if v in found)
        if isinstance(value, OneHot):
            result = _RULES[eqn.primitive.name](eqn, operands)
        else:
            (result,) = evaluate(eqn, operands)
        found[eqn.outvars[0]] = result
    return [found[v] for v in entry.gives]


def _kind(eqn: Any, one_hot: set[Any], linear: set[Any]) -> set[Any] | None:
    """Where a result belongs: one-hot, linear in the weights, or neither."""
    mine = [v for v in variables(eqn.invars) if v in one_hot or v in linear]
    if len(mine) != 1 or len(eqn.outvars) != 1 or not _wide(eqn):
        return None
    (value,), name, result = mine, eqn.primitive.name, eqn.outvars[0].aval
    if value in one_hot:
        if name in _PRODUCTS:
            return linear if _is_narrow(eqn, eqn.invars.index(value)) else None
        same_size = math.prod(result.shape) == math.prod(value.aval.shape)
        return one_hot if name in _RULES and same_size else None
    if name == "mul" or (name == "div" and eqn.invars[0] is value):
        return linear if result.shape == value.aval.shape else None
    return linear if name in _LINEAR else None


def _wide(eqn: Any) -> bool:
    """Whether a result has at least 32 bits, and no fewer than what it is made of."""
    dtypes = [atom.aval.dtype for atom in eqn.invars]
    result = eqn.outvars[0].aval.dtype
    return (
        jnp.issubdtype(result, jnp.floating)
        and all(jnp.issubdtype(d, jnp.floating) for d in dtypes)
        and (eqn.primitive.name not in (*_PRODUCTS, *_LINEAR) or result.itemsize >= 4)
        and result.itemsize >= max(d.itemsize for d in dtypes)
    )


def _is_narrow(eqn: Any, position: int) -> bool:
    """Whether the weights give a product one output: their axes, but contracted ones, are 1."""
    shape = eqn.invars[position].aval.shape
    if eqn.primitive.name == "dot_general":
        contracted = eqn.params["dimension_numbers"][0][position]
        return all(n == 1 or axis in contracted for axis, n in enumerate(shape))
    groups = eqn.params["feature_group_count"] * eqn.params["batch_group_count"]
    outputs = shape[eqn.params["dimension_numbers"].rhs_spec[0]]
    return position == 1 and groups == 1 and outputs == 1


@_rule_for("convert_element_type", "copy")
def _same(eqn: Any, operands: Sequence[OneHot]) -> OneHot:
    return operands[0]


@_rule_for("reshape", "squeeze", "expand_dims", "broadcast_in_dim")
def _reshape(eqn: Any, operands: Sequence[OneHot]) -> OneHot:
    """The same place in memory; a broadcast is here only where it stretches nothing."""
    value = operands[0]
    flat = jnp.zeros((), jnp.int32)
    for index, size in zip(value.place, value.shape, strict=True):
        flat = flat * size + index
    return one_hot_at(flat, eqn.outvars[0].aval.shape)


def one_hot_at(flat: Array, shape: Sequence[int]) -> OneHot:
    """The one-hot array of a shape with its 1 at a place in row-major order."""
    place: list[Array] = []
    for size in reversed(shape):
        place.insert(0, flat % size)
        flat = flat // size
    return OneHot(tuple(shape), tuple(place))


@_rule_for("transpose")
def _transpose(eqn: Any, operands: Sequence[OneHot]) -> OneHot:
    value = operands[0]
    order = eqn.params["permutation"]
    return OneHot(tuple(value.shape[a] for a in order), tuple(value.place[a] for a in order))


@_rule_for("dot_general")
def _dot_general(eqn: Any, operands: Sequence[Any]) -> Array:
    """What the weight is multiplied by."""
    position = next(i for i, value in enumerate(operands) if isinstance(value, OneHot))
    value, other = operands[position], operands[1 - position]
    contract, _ = eqn.params["dimension_numbers"]
    mine, theirs = contract[position], contract[1 - position]
    # Contracted axes first: what one weight reads then lies together in memory.
    free = [axis for axis in range(other.ndim) if axis not in theirs]
    taken = jnp.transpose(other, (*theirs, *free))
    for axis in mine:
        taken = lax.dynamic_index_in_dim(taken, value.place[axis], keepdims=False)
    result = eqn.outvars[0].aval
    return taken.reshape(result.shape).astype(result.dtype)


@_rule_for("conv_general_dilated")
def _conv_general_dilated(eqn: Any, operands: Sequence[Any]) -> Array:
    """The input channel that the weight reads, shifted to its place in the window."""
    other, value = operands
    p, numbers, result = eqn.params, eqn.params["dimension_numbers"], eqn.outvars[0].aval
    batch, channel, *spatial = numbers.lhs_spec
    _, inputs, *window = numbers.rhs_spec
    # Channels first: the one that is read then lies together in memory.
    image = jnp.transpose(other, (channel, batch, *spatial))
    holes = [(*pair, d - 1) for pair, d in zip(p["padding"], p["lhs_dilation"], strict=True)]
    image = lax.pad(image, jnp.zeros((), image.dtype), [(0, 0, 0), (0, 0, 0), *holes])
    outputs = [result.shape[axis] for axis in numbers.out_spec[2:]]
    spans = [(n - 1) * step + 1 for n, step in zip(outputs, p["window_strides"], strict=True)]
    starts = [value.place[a] * d for a, d in zip(window, p["rhs_dilation"], strict=True)]
    taken = lax.dynamic_slice(
        image,
        [jnp.asarray(i, jnp.int32) for i in (value.place[inputs], 0, *starts)],
        (1, image.shape[1], *spans),
    )[0]
    taken = taken[(slice(None), *(slice(None, None, step) for step in p["window_strides"]))]
    # [batch, spatial...] into the order of the result, whose channel axis has size 1.
    axes = (numbers.out_spec[0], *numbers.out_spec[2:])
    taken = jnp.transpose(taken, sorted(range(len(axes)), key=axes.__getitem__))
    return taken.reshape(result.shape).astype(result.dtype)
