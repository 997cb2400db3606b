"""A traced function with its convolutions in the forms that are fastest where it runs.

XLA's CPU backend carries out a convolution as it stands. One that is summed over windows at once is
a convolution of larger strides, with fewer products; one of a single input channel is a sum of
shifted products. Both are measured by ``experiments/benchmarks/convolution_forms.py``.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import ClosedJaxpr, Literal

from rso_jax.incremental.convolution import PendingConvolution, convolution_of, convolve, pool
from rso_jax.incremental.jaxprs import evaluate, leading_to, variables, without_calls

_CONVOLUTION = "conv_general_dilated"
_LARGEST_WINDOW = 16
"""Elements of a window up to which a pool is taken into a kernel."""


class _Context(NamedTuple):
    """What is known of a function while one of its equations is evaluated."""

    makers: Mapping[Any, Any]
    """Equations by what they make."""
    alone: Mapping[Any, Any]
    """Those of them whose results are used once."""
    read: Callable[[Any], Array]
    """Gives the value of an operand."""


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
    if not any(eqn.primitive.name == _CONVOLUTION for eqn in flat.jaxpr.eqns):
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

        context = _Context(makers, alone, read)
        for eqn in jaxpr.eqns:
            found = _in_fast_form(eqn, context)
            results = evaluate(eqn, [*map(read, eqn.invars)]) if found is None else [found]
            values |= zip(eqn.outvars, results, strict=True)
        return [read(atom) for atom in jaxpr.outvars]

    shapes = [
        jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype, weak_type=v.aval.weak_type)
        for v in jaxpr.invars
    ]
    fast = jax.make_jaxpr(function)(*shapes)
    needed = leading_to(fast.jaxpr.outvars, fast.jaxpr.eqns)
    return ClosedJaxpr(fast.jaxpr.replace(eqns=needed), fast.consts)


def _in_fast_form(eqn: Any, context: _Context) -> Array | None:
    """The result of an equation, if it is a convolution or pools one; else None."""
    if eqn.primitive.name == "reduce_window_sum":
        return _pooled(eqn, context)
    if eqn.primitive.name != _CONVOLUTION:
        return None
    found = _put_off(eqn, context)
    return None if found is None else convolve(found)


def _put_off(eqn: Any, context: _Context) -> PendingConvolution | None:
    """The convolution of an equation; None of one that has other types or a form of its own."""
    dtypes = {v.aval.dtype for v in (*eqn.invars, *eqn.outvars)}
    if len(dtypes) > 1 or dtypes.pop().itemsize < 4:
        return None
    return convolution_of(eqn, *map(context.read, eqn.invars))


def _pooled(eqn: Any, context: _Context) -> Array | None:
    """The sums over windows of a convolution, with or without a bias; None of anything else."""
    p = eqn.params
    window, strides = p["window_dimensions"], p["window_strides"]
    dilated = {*p["base_dilation"], *p["window_dilation"]} != {1}
    if dilated or any(map(any, p["padding"])) or math.prod(window) > _LARGEST_WINDOW:
        return None
    found = _convolution_and_bias(eqn.invars[0], context)
    if found is None:
        return None
    made, added = found
    bias = None if added is None else _pooled_bias(added, window, strides, context)
    convolution = _put_off(made, context)
    if convolution is None or (added is not None and bias is None):
        return None
    pooled = pool(convolution, window, strides)
    if pooled is None:
        return None
    array = convolve(pooled)
    return array if bias is None else array + bias


def _convolution_and_bias(atom: Any, context: _Context) -> tuple[Any, Any | None] | None:
    """The equation of a convolution, and what was added to it.

    Args:
        atom: the sum, or the convolution's own result; it is used once.
        context: of the function.

    Returns:
        None where it is no such thing, or the addition stretches the convolution.
    """
    made = context.alone.get(atom)
    if made is None or made.primitive.name == _CONVOLUTION:
        return None if made is None else (made, None)
    if made.primitive.name != "add":
        return None
    for one, other in (made.invars, made.invars[::-1]):
        inner = None if isinstance(one, Literal) else context.alone.get(one)
        if inner is None or inner.primitive.name != _CONVOLUTION:
            continue
        if one.aval.shape == made.outvars[0].aval.shape:
            return inner, other
    return None


def _pooled_bias(
    added: Any, window: Sequence[int], strides: Sequence[int], context: _Context
) -> Array | None:
    """The sums over windows of what is added, of size 1 where it is the same for all of them.

    Args:
        added: an operand of an addition, which may repeat it along axes of size 1.
        window: of the pool, along every axis.
        strides: of its windows.
        context: of the function.

    Returns:
        None where it varies inside of windows.
    """
    made = None if isinstance(added, Literal) else context.makers.get(added)
    atom, axes = added, tuple(range(added.aval.ndim))
    if made is not None and made.primitive.name == "broadcast_in_dim" and len(made.invars) == 1:
        atom, axes = made.invars[0], made.params["broadcast_dimensions"]
    sizes = dict(zip(axes, atom.aval.shape, strict=True))
    for axis, pair in enumerate(zip(window, strides, strict=True)):
        if pair != (1, 1) and sizes.get(axis, 1) > 1:
            return None
    small = [sizes.get(axis, 1) for axis in range(len(window))]
    return lax.broadcast_in_dim(context.read(atom) * math.prod(window), small, axes)
