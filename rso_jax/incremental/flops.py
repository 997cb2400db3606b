"""Arithmetic of a traced function, by the operations that matter: products and convolutions."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

from rso_jax.incremental.convolution import SHIFTED_PRODUCTS


def count_flops(function: Callable[..., Any], *arguments: Any) -> int:
    """Floating-point operations of the products and convolutions in a function.

    A multiplication and an addition count 2, also where a convolution was written as a sum of
    shifted products. Other elementwise work is not counted, a loop of unknown length counts once.

    Args:
        function: any JAX function.
        arguments: its arguments, arrays or ``jax.ShapeDtypeStruct``.
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: Jaxpr) -> int:
    total = 0
    eqns: list[Any] = jaxpr.eqns
    for eqn in eqns:
        name = eqn.primitive.name
        if name == "dot_general":
            (contract, _), _ = eqn.params["dimension_numbers"]
            left = eqn.invars[0].aval.shape
            total += 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(left[a] for a in contract)
        elif name == "conv_general_dilated":
            kernel = eqn.invars[1].aval.shape
            outputs = kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
            total += 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(kernel) // outputs
        elif name == "mul" and SHIFTED_PRODUCTS in str(eqn.source_info.name_stack):
            total += 2 * math.prod(eqn.outvars[0].aval.shape)
        else:
            repeats = eqn.params.get("length", 1) if name == "scan" else 1
            total += repeats * sum(_count(inner) for inner in _inner(eqn.params.values()))
    return total


def _inner(values: Any) -> list[Jaxpr]:
    found: list[Jaxpr] = []
    for value in values:
        if isinstance(value, ClosedJaxpr):
            found.append(value.jaxpr)
        elif isinstance(value, Jaxpr):
            found.append(value)
        elif isinstance(value, tuple | list):
            found += _inner(value)
    return found
