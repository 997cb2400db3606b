"""Rules of what acts on every element by itself: a box stays the box it is."""

from collections.abc import Sequence
from typing import Any

from rso_jax.incremental.alignment import align
from rso_jax.incremental.rules.rule import apply, result_shape, rule_for
from rso_jax.incremental.values import Sliced, Value

ELEMENTWISE = (
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
    "bessel_i0e",
    "bessel_i1e",
    "betainc",
    "cbrt",
    "ceil",
    "clamp",
    "clz",
    "complex",
    "conj",
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
    "igamma",
    "igammac",
    "imag",
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
    "polygamma",
    "population_count",
    "pow",
    "real",
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
"""Primitives that act on every element by itself."""


@rule_for(*ELEMENTWISE)
def elementwise(eqn: Any, operands: Sequence[Value]) -> Value | None:
    """The box holds those of all operands."""
    found = align(operands, result_shape(eqn))
    if found is None:
        return None
    base, part = apply(eqn, *found.bases), apply(eqn, *found.parts)
    return Sliced(base, part, found.ranges, found.groups)
