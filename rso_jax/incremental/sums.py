"""Sums of convolutions: where one begins in a dense array, and what it stays one through.

As in ``rules``; a primitive without a rule here gets the sum added up.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax import Array, lax
from jax.extend.core import Literal

from rso_jax.incremental.convolution import PendingConvolution, convolution_of, pool
from rso_jax.incremental.jaxprs import evaluate
from rso_jax.incremental.registry import Registry
from rso_jax.incremental.rules.rule import check_results
from rso_jax.incremental.values import Dense, Same, Sum, Value

SUM_RULES: Registry[Callable[[Any, Sequence[Value]], Sum | None]] = Registry(
    "rule of sums", check_results
)
"""Those that are asked where an operand is a sum, or dense."""


@SUM_RULES.register("conv_general_dilated")
def convolution(eqn: Any, operands: Sequence[Value]) -> Sum | None:
    """A dense image by a kernel that is the same is put off: the result may yet be pooled."""
    image, kernel = operands
    if not isinstance(image, Dense) or not isinstance(kernel, Same):
        return None
    found = convolution_of(eqn, image.array, kernel.array)
    return None if found is None else Sum((), (found,))


@SUM_RULES.register("add", "add_any")
def add(eqn: Any, operands: Sequence[Value]) -> Sum | None:
    """What is the same is one more term."""
    value, other = _sum_first(operands)
    # What is added may be stretched, and so may the sum.
    shape = {v.aval.shape for v in (*eqn.invars, *eqn.outvars)}
    if value is None or other is None or shape != {other.shape}:
        return None
    return value._replace(fixed=(*value.fixed, other))


@SUM_RULES.register("mul", "div")
def scale(eqn: Any, operands: Sequence[Value]) -> Sum | None:
    """Numbers that stand in the loss scale terms; computed ones may be infinite, or divide by 0."""
    value, other = _sum_first(operands)
    name = eqn.primitive.name
    if value is None or other is None or other.ndim or (name == "div" and operands[0] is not value):
        return None
    numbers = [atom.val for atom in eqn.invars if isinstance(atom, Literal)]
    if not numbers or not np.isfinite(numbers[0]) or numbers[0] == 0:
        return None
    operation = lax.div if name == "div" else lax.mul

    def scaled(term: Any) -> Any:
        if isinstance(term, PendingConvolution):
            return term._replace(kernel=scaled(term.kernel))
        return operation(term, lax.broadcast(other, term.shape))

    return Sum(tuple(map(scaled, value.fixed)), tuple(map(scaled, value.changing)))


@SUM_RULES.register("reduce_window_sum")
def average_pool(eqn: Any, operands: Sequence[Value]) -> Sum | None:
    """Windows that lie wholly inside are summed term by term."""
    (value,), p = operands, eqn.params
    dilations = {*p["base_dilation"], *p["window_dilation"]}
    if not isinstance(value, Sum) or dilations != {1} or any(map(any, p["padding"])):
        return None

    def pooled(term: Any) -> Any:
        if isinstance(term, PendingConvolution):
            return pool(term, p["window_dimensions"], p["window_strides"])
        return evaluate(eqn, [term])[0]

    found = Sum(tuple(map(pooled, value.fixed)), tuple(map(pooled, value.changing)))
    return None if any(term is None for term in (*found.fixed, *found.changing)) else found


def _sum_first(operands: Sequence[Value]) -> tuple[Sum | None, Array | None]:
    """The sum and the other operand, where one is a sum and one the same."""
    first, second = operands
    if isinstance(second, Sum):
        first, second = second, first
    if isinstance(first, Sum) and isinstance(second, Same):
        return first, second.array
    return None, None
