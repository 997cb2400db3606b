"""A traced function with its convolutions in the forms that are fastest where it runs.

XLA's CPU backend carries out a convolution as it stands. One that is summed over windows at once is
a convolution of larger strides, with fewer products; one of a single input channel is a sum of
shifted products. Both are measured by ``experiments/benchmarks/convolution_forms.py``.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import ClosedJaxpr, Literal

from rso_jax.incremental.convolution import convolution_of, convolve, pool
from rso_jax.incremental.jaxprs import evaluate, leading_to, variables, without_calls

CONVOLUTION = "conv_general_dilated"
Read = Callable[[Any], Array]
"""The value of an operand."""


def with_fast_convolutions(traced: ClosedJaxpr) -> ClosedJaxpr:
    """The function in those forms; itself where it has no convolutions, or runs elsewhere.

    Results differ by rounding. Convolutions of narrow types, whose kernels would be added up before
    they are rounded, stay as they are.

    Args:
        traced: the function.
    """
    if jax.default_backend() != "cpu":
        return traced
    flat = without_calls(traced)
    if not any(eqn.primitive.name == CONVOLUTION for eqn in flat.jaxpr.eqns):
        return traced
    jaxpr = flat.jaxpr
    makers = {v: eqn for eqn in jaxpr.eqns for v in eqn.outvars}
    uses = Counter(variables([*jaxpr.outvars, *(a for eqn in jaxpr.eqns for a in eqn.invars)]))
    alone = {v: eqn for v, eqn in makers.items() if uses[v] == 1}

    def function(*given: Array) -> list[Array]:
        values = dict(zip(jaxpr.constvars, flat.consts, strict=True))
        values |= zip(jaxpr.invars, given, strict=True)

        def read(atom: Any) -> Array:
            constant = isinstance(atom, Literal)
            return jnp.asarray(atom.val, atom.aval.dtype) if constant else values[atom]

        for eqn in jaxpr.eqns:
            found = _in_fast_form(eqn, makers, alone, read)
            results = evaluate(eqn, [*map(read, eqn.invars)]) if found is None else [found]
            values |= zip(eqn.outvars, results, strict=True)
        return [read(atom) for atom in jaxpr.outvars]

    shapes = [
        jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype, weak_type=v.aval.weak_type)
        for v in jaxpr.invars
    ]
    return _without_waste(jax.make_jaxpr(function)(*shapes))


def _without_waste(traced: ClosedJaxpr) -> ClosedJaxpr:
    """The function without what its results do not need."""
    jaxpr = traced.jaxpr
    return ClosedJaxpr(jaxpr.replace(eqns=leading_to(jaxpr.outvars, jaxpr.eqns)), traced.consts)


def _in_fast_form(
    eqn: Any, makers: Mapping[Any, Any], alone: Mapping[Any, Any], read: Read
) -> Array | None:
    """The result of an equation, if it is a convolution or pools one.

    Args:
        eqn: the equation.
        makers: equations by what they make.
        alone: those whose results are used once.
        read: gives the values of operands.

    Returns:
        None where it is to be evaluated as it stands.
    """
    if eqn.primitive.name == "reduce_window_sum":
        return _pooled(eqn, makers, alone, read)
    if eqn.primitive.name != CONVOLUTION or not _is_wide(eqn):
        return None
    found = convolution_of(eqn, *map(read, eqn.invars))
    return None if found is None else convolve(found)


def _pooled(
    eqn: Any, makers: Mapping[Any, Any], alone: Mapping[Any, Any], read: Read
) -> Array | None:
    """The sums over windows of a convolution, with or without a bias; None for anything else."""
    p = eqn.params
    if {*p["base_dilation"], *p["window_dilation"]} != {1} or any(map(any, p["padding"])):
        return None
    made = alone.get(eqn.invars[0])
    bias: Array | None = None
    if made is not None and made.primitive.name == "add":
        made, bias = _biased(eqn, made, makers, alone, read)
    if made is None or made.primitive.name != CONVOLUTION or not _is_wide(made):
        return None
    found = convolution_of(made, *map(read, made.invars))
    if found is not None:
        found = pool(found, p["window_dimensions"], p["window_strides"])
    if found is None:
        return None
    array = convolve(found)
    return array if bias is None else array + bias


def _biased(
    eqn: Any, made: Any, makers: Mapping[Any, Any], alone: Mapping[Any, Any], read: Read
) -> tuple[Any, Array | None]:
    """The convolution to which a bias was added, and the sums of that bias over windows.

    Args:
        eqn: equation that pools.
        made: the addition that it pools.
        makers: as of ``_in_fast_form``.
        alone: likewise.
        read: likewise.

    Returns:
        None for both where there is no such thing.
    """
    window, strides = eqn.params["window_dimensions"], eqn.params["window_strides"]
    pooled = [axis for axis, pair in enumerate(zip(window, strides, strict=True)) if pair != (1, 1)]
    for one, other in (made.invars, made.invars[::-1]):
        convolution = None if isinstance(one, Literal) else alone.get(one)
        if convolution is None or convolution.primitive.name != CONVOLUTION:
            continue
        atom, axes = _source(other, makers)
        sizes = dict(zip(axes, atom.aval.shape, strict=True))
        if any(sizes.get(axis, 1) > 1 for axis in pooled):
            continue
        small = [sizes.get(axis, 1) for axis in range(len(window))]
        bias = lax.broadcast_in_dim(read(atom) * math.prod(window), small, axes)
        return convolution, bias
    return None, None


def _source(atom: Any, makers: Mapping[Any, Any]) -> tuple[Any, tuple[int, ...]]:
    """What an operand was broadcast from, and the axes on which that lies.

    Args:
        atom: of an operation element by element, which may repeat it along axes of size 1.
        makers: equations by what they make.
    """
    made = None if isinstance(atom, Literal) else makers.get(atom)
    if made is not None and made.primitive.name == "broadcast_in_dim" and len(made.invars) == 1:
        return made.invars[0], made.params["broadcast_dimensions"]
    return atom, tuple(range(atom.aval.ndim))


def _is_wide(eqn: Any) -> bool:
    """Whether a convolution is of one type of at least 32 bits."""
    dtypes = {v.aval.dtype for v in (*eqn.invars, *eqn.outvars)}
    return len(dtypes) == 1 and dtypes.pop().itemsize >= 4
