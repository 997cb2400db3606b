"""A traced function with its convolutions in the forms that are fastest where it runs.

XLA's CPU backend carries out a convolution as it stands. One that is summed over windows at once is
a convolution of larger strides, with fewer products; one of a single input channel is a sum of
shifted products. Both are measured by ``experiments/benchmarks/convolution_forms.py``.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax import Array, lax
from jax.extend.core import ClosedJaxpr, Literal

from rso_jax.incremental.convolution import PendingConvolution, convolution_of, convolve, pool
from rso_jax.incremental.jaxprs import (
    evaluate,
    evaluate_by,
    leading_to,
    structs_of_variables,
    variables,
    without_calls,
)

_CONVOLUTION = "conv_general_dilated"
_LARGEST_WINDOW = 16
"""Elements of a window up to which a pool is taken into a kernel."""


class _Made(NamedTuple):
    """What a variable was made by."""

    eqn: Any
    operands: list[Array]


class _Past(NamedTuple):
    """What an equation finds when it is evaluated."""

    made: dict[Any, _Made]
    """By variable, of all equations so far."""
    uses: Counter[Any]
    """How often each variable is taken."""

    def only_for_this(self, atom: Any, primitive: str) -> _Made | None:
        """What an operand was made by, if that is such an operation and nothing else takes it."""
        if isinstance(atom, Literal) or self.uses[atom] != 1 or atom not in self.made:
            return None
        found = self.made[atom]
        return found if found.eqn.primitive.name == primitive else None


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
    jaxpr = flat.jaxpr
    if not any(eqn.primitive.name == _CONVOLUTION for eqn in jaxpr.eqns):
        return traced
    uses = Counter(variables([*jaxpr.outvars, *(a for eqn in jaxpr.eqns for a in eqn.invars)]))

    def function(*given: Array) -> list[Array]:
        past = _Past({}, uses)

        def apply(eqn: Any, operands: list[Array]) -> list[Array]:
            past.made.update(dict.fromkeys(eqn.outvars, _Made(eqn, operands)))
            found = _in_fast_form(eqn, operands, past)
            return evaluate(eqn, operands) if found is None else [found]

        return evaluate_by(apply, flat, given)

    fast = jax.make_jaxpr(function)(*structs_of_variables(jaxpr.invars))
    needed = leading_to(fast.jaxpr.outvars, fast.jaxpr.eqns)
    return ClosedJaxpr(fast.jaxpr.replace(eqns=needed), fast.consts)


def _in_fast_form(eqn: Any, operands: list[Array], past: _Past) -> Array | None:
    """The result of an equation, if it is a convolution or pools one; else None."""
    if eqn.primitive.name == "reduce_window_sum":
        return _pooled(eqn, past)
    if eqn.primitive.name != _CONVOLUTION:
        return None
    found = _put_off(_Made(eqn, operands))
    return None if found is None else convolve(found)


def _put_off(made: _Made) -> PendingConvolution | None:
    """The convolution of an equation; None of narrow or several types, or of a form of its own."""
    dtypes = {v.aval.dtype for v in (*made.eqn.invars, *made.eqn.outvars)}
    if len(dtypes) > 1 or dtypes.pop().itemsize < 4:
        return None
    return convolution_of(made.eqn, *made.operands)


def _pooled(eqn: Any, past: _Past) -> Array | None:
    """The sums over windows of a convolution, with or without a bias; None of anything else."""
    p = eqn.params
    window, strides = p["window_dimensions"], p["window_strides"]
    dilated = {*p["base_dilation"], *p["window_dilation"]} != {1}
    if dilated or any(map(any, p["padding"])) or math.prod(window) > _LARGEST_WINDOW:
        return None
    made, bias = past.only_for_this(eqn.invars[0], _CONVOLUTION), None
    if made is None:
        made, bias = _biased_convolution(eqn.invars[0], window, strides, past)
    convolution = None if made is None else _put_off(made)
    pooled = None if convolution is None else pool(convolution, window, strides)
    if pooled is None:
        return None
    return convolve(pooled) if bias is None else convolve(pooled) + bias


def _biased_convolution(
    atom: Any, window: Sequence[int], strides: Sequence[int], past: _Past
) -> tuple[_Made | None, Array | None]:
    """The convolution to which a bias was added, and the sums of the bias over windows.

    Args:
        atom: what is pooled.
        window: of the pool, along every axis.
        strides: of its windows.
        past: of that equation.

    Returns:
        None for both where it is something else, or the addition stretches the convolution.
    """
    addition = past.only_for_this(atom, "add")
    if addition is None:
        return None, None
    for one, other in ((0, 1), (1, 0)):
        convolution, added = addition.eqn.invars[one], addition.eqn.invars[other]
        made = past.only_for_this(convolution, _CONVOLUTION)
        if made is None or convolution.aval.shape != atom.aval.shape:
            continue
        bias = _pooled_bias(added, addition.operands[other], window, strides, past)
        if bias is not None:
            return made, bias
    return None, None


def _pooled_bias(
    atom: Any, bias: Array, window: Sequence[int], strides: Sequence[int], past: _Past
) -> Array | None:
    """The sums over windows of what is added, of size 1 where it is the same for all of them.

    Args:
        atom: an operand of an addition, which may repeat it along axes of size 1.
        bias: its value.
        window: as of ``_biased_convolution``.
        strides: likewise.
        past: likewise.

    Returns:
        None where it varies inside of windows.
    """
    axes = tuple(range(bias.ndim))
    made = None if isinstance(atom, Literal) else past.made.get(atom)
    if made and made.eqn.primitive.name == "broadcast_in_dim" and len(made.operands) == 1:
        (bias,), axes = made.operands, made.eqn.params["broadcast_dimensions"]
    sizes = dict(zip(axes, bias.shape, strict=True))
    for axis, pair in enumerate(zip(window, strides, strict=True)):
        if pair != (1, 1) and sizes.get(axis, 1) > 1:
            return None
    small = [sizes.get(axis, 1) for axis in range(len(window))]
    return lax.broadcast_in_dim(bias * math.prod(window), small, axes)
