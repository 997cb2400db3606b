"""Rules: for a primitive, the kind of its result from the kinds of its operands.

A rule is a function ``(eqn, operands, o) -> value or None``. It is called when at least one
operand is sliced and the others are sliced or the same; ``None`` means that it has nothing to say
about these. Then, as for a primitive without a rule, the operands are made whole and the result
is dense. So a rule makes a candidate cheaper; it is never needed for a loss to be right.

``eqn`` is an equation of a jaxpr, ``o`` the index of the column, traced.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from rso_jax.incremental.convolution import convolution_of
from rso_jax.incremental.jaxprs import evaluate
from rso_jax.incremental.values import (
    Dense,
    Same,
    Sliced,
    Sum,
    Value,
    replace,
    shape_of,
    take,
    whole,
)

Rule = Callable[[Any, Sequence[Value], Array], Value | None]
RULES: dict[str, Rule] = {}


def rule_for(*primitives: str) -> Callable[[Rule], Rule]:
    """Register a rule under the names of primitives."""

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(primitives, rule))
        return rule

    return register


def apply(eqn: Any, *operands: Array) -> Array:
    """``evaluate`` for an equation with one result."""
    (result,) = evaluate(eqn, operands)
    return result


def result_shape(eqn: Any) -> tuple[int, ...]:
    """Shape of the result, with the operands whole."""
    shape: tuple[int, ...] = eqn.outvars[0].aval.shape
    return shape


_ELEMENTWISE = (
    "abs",
    "acos",
    "acosh",
    "add",
    "add_any",
    "and",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cbrt",
    "ceil",
    "clamp",
    "convert_element_type",
    "copy",
    "copy_p",
    "cos",
    "cosh",
    "digamma",
    "div",
    "eq",
    "erf",
    "erf_inv",
    "erfc",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "ge",
    "gt",
    "integer_pow",
    "is_finite",
    "le",
    "lgamma",
    "log",
    "log1p",
    "logistic",
    "lt",
    "max",
    "min",
    "mul",
    "ne",
    "neg",
    "nextafter",
    "not",
    "or",
    "population_count",
    "pow",
    "reduce_precision",
    "rem",
    "round",
    "rsqrt",
    "select_n",
    "shift_left",
    "shift_right_arithmetic",
    "shift_right_logical",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "stop_gradient",
    "sub",
    "tan",
    "tanh",
    "xor",
)


@rule_for(*_ELEMENTWISE)
def elementwise(eqn: Any, operands: Sequence[Value], o: Array) -> Value | None:
    """Sliced along one axis gives sliced along it."""
    axes = {v.axis for v in operands if isinstance(v, Sliced)}
    shape = result_shape(eqn)
    if len(axes) != 1 or {len(shape_of(v)) for v in operands} - {len(shape), 0}:
        return None
    (axis,) = axes
    if any(isinstance(v, Sliced) and shape_of(v)[axis] != shape[axis] for v in operands):
        return None  # of size 1 there, and stretched along the axis
    bases, parts = [], []
    for v in operands:
        if isinstance(v, Sliced):
            bases.append(v.base)
            parts.append(v.part)
        else:
            array = whole(v, o)
            bases.append(array)
            parts.append(take(array, o, axis) if array.ndim else array)
    return Sliced(apply(eqn, *bases), apply(eqn, *parts), axis)


@rule_for("broadcast_in_dim")
def broadcast_in_dim(eqn: Any, operands: Sequence[Value], o: Array) -> Value | None:
    """Sliced, unless the axis itself is stretched."""
    value = operands[0]
    if not isinstance(value, Sliced):
        return None
    shape, dimensions = eqn.params["shape"], eqn.params["broadcast_dimensions"]
    axis = dimensions[value.axis]
    if value.base.shape[value.axis] != shape[axis]:
        return None
    part = lax.broadcast_in_dim(value.part, _narrow(shape, axis), dimensions)
    return Sliced(lax.broadcast_in_dim(value.base, shape, dimensions), part, axis)


@rule_for("transpose")
def transpose(eqn: Any, operands: Sequence[Value], o: Array) -> Value | None:
    """The axis moves."""
    (value,) = operands
    assert isinstance(value, Sliced)
    axis = eqn.params["permutation"].index(value.axis)
    return Sliced(apply(eqn, value.base), apply(eqn, value.part), axis)


@rule_for("reshape", "squeeze", "expand_dims")
def reshape(eqn: Any, operands: Sequence[Value], o: Array) -> Value | None:
    """Sliced where the axis survives whole: same size, same number of elements before it."""
    value = operands[0]
    if not isinstance(value, Sliced) or (
        eqn.primitive.name == "reshape" and eqn.params.get("dimensions") is not None
    ):
        return None
    before, after = value.base.shape, result_shape(eqn)
    leading = math.prod(before[: value.axis])
    for axis, size in enumerate(after):
        if size == before[value.axis] and math.prod(after[:axis]) == leading:
            part = value.part.reshape(_narrow(after, axis))
            return Sliced(value.base.reshape(after), part, axis)
    return None


@rule_for("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "argmax", "argmin")
def reduction(eqn: Any, operands: Sequence[Value], o: Array) -> Value | None:
    """Over other axes: sliced. Over the axis: the rest once, joined with the part."""
    (value,) = operands
    assert isinstance(value, Sliced)
    axes, axis, name = eqn.params["axes"], value.axis, eqn.primitive.name
    if axis not in axes:
        moved = axis - sum(a < axis for a in axes)
        return Sliced(apply(eqn, value.base), apply(eqn, value.part), moved)
    if name == "reduce_sum":
        rest = apply(eqn, replace(value.base, o, axis, 0))
        return Dense(rest + apply(eqn, value.part))
    if name in ("reduce_max", "reduce_min") and value.base.shape[axis] > 1:
        # The neighbour's values are neutral, whatever the type.
        rest = apply(eqn, replace(value.base, o, axis, jnp.roll(value.base, 1, axis)))
        join = lax.max if name == "reduce_max" else lax.min
        return Dense(join(rest, apply(eqn, value.part)))
    return None


@rule_for("reduce_window_sum", "reduce_window_max", "reduce_window_min")
def reduce_window(eqn: Any, operands: Sequence[Value], o: Array) -> Value | None:
    """Pooling over other axes: sliced."""
    (value,) = operands
    assert isinstance(value, Sliced)
    p, axis = eqn.params, value.axis
    spans = (p["window_dimensions"], p["window_strides"], p["base_dilation"])
    if any(span[axis] != 1 for span in spans) or tuple(p["padding"][axis]) != (0, 0):
        return None
    return Sliced(apply(eqn, value.base), apply(eqn, value.part), axis)


@rule_for("dot_general")
def dot_general(eqn: Any, operands: Sequence[Value], o: Array) -> Value | None:
    """Contracted over the axis: the rest once, plus an outer product. Otherwise sliced."""
    contract, batch = eqn.params["dimension_numbers"]
    side = 0 if isinstance(operands[0], Sliced) else 1
    value, other = operands[side], operands[1 - side]
    if not isinstance(value, Sliced) or not isinstance(other, Same):
        return None

    def dot(mine: Array, theirs: Array) -> Array:
        return apply(eqn, *((mine, theirs) if side == 0 else (theirs, mine)))

    if value.axis in contract[side]:
        partner = contract[1 - side][contract[side].index(value.axis)]
        rest = dot(replace(value.base, o, value.axis, 0), other.array)
        return Dense(rest + dot(value.part, take(other.array, o, partner)))
    if value.axis in batch[side]:
        position = batch[side].index(value.axis)
        partner = batch[1 - side][position]
        part = dot(value.part, take(other.array, o, partner))
        return Sliced(dot(value.base, other.array), part, position)
    free = sum(a not in (*contract[side], *batch[side]) for a in range(value.axis))
    before = len(batch[0])  # the result's axes: batch, then the left's free ones, the right's
    if side == 1:
        before = operands[0].array.ndim - len(contract[0])  # type: ignore[union-attr]
    return Sliced(dot(value.base, other.array), dot(value.part, other.array), before + free)


@rule_for("conv_general_dilated")
def conv_general_dilated(eqn: Any, operands: Sequence[Value], o: Array) -> Value | None:
    """One output channel from one column; from one input channel the rest once, plus its share."""
    image, kernel = operands
    numbers = eqn.params["dimension_numbers"]
    if eqn.params["feature_group_count"] != 1 or eqn.params["batch_group_count"] != 1:
        return None
    if isinstance(image, Same) and isinstance(kernel, Sliced):
        if kernel.axis != numbers.rhs_spec[0]:
            return None
        part = apply(eqn, image.array, kernel.part)
        return Sliced(apply(eqn, image.array, kernel.base), part, numbers.out_spec[1])
    if isinstance(image, Sliced) and isinstance(kernel, Same):
        if image.axis == numbers.lhs_spec[0]:
            part = apply(eqn, image.part, kernel.array)
            return Sliced(apply(eqn, image.base, kernel.array), part, numbers.out_spec[0])
        if image.axis == numbers.lhs_spec[1]:
            # The image's channel is zeroed, not the kernel's: what it holds may be NaN.
            others = replace(image.base, o, image.axis, 0)
            channel = take(kernel.array, o, numbers.rhs_spec[1])
            rest = convolution_of(eqn, others, kernel.array)
            share = convolution_of(eqn, image.part, channel)
            if rest is None or share is None:
                return Dense(apply(eqn, others, kernel.array) + apply(eqn, image.part, channel))
            return Sum((rest,), (share,))
    return None


def _narrow(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return tuple(1 if i == axis else n for i, n in enumerate(shape))
