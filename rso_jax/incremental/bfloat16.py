"""Products of bfloat16 operands, added up in float32.

The activations that a product reads take half the bytes, and matrix units multiply them faster.
bfloat16 keeps float32's range and 8 bits of its precision.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import ClosedJaxpr

from rso_jax.incremental.jaxprs import evaluate, evaluate_by, is_wrapper, map_inner, variables

P = ParamSpec("P")
R = TypeVar("R")

_PRODUCTS = ("dot_general", "conv_general_dilated")
_LOOPS_AND_BRANCHES = ("scan", "while", "cond")


def bfloat16_products(function: Callable[P, R]) -> Callable[P, R]:
    """A function whose float32 products round their operands to bfloat16 and add up in float32.

    ::

        search = rso(bfloat16_products(loss_fn), **presets.authors_code(cycles=5))

    Every ``dot_general`` and ``conv_general_dilated`` of two float32 arrays with a float32 result
    takes them as bfloat16, whatever precision it asks for; the result stays float32. All else stays
    as it is: batch norm, activations, softmax, the loss; products of float64, of integers, and
    those already in bfloat16. So it is inside ``jit``, ``checkpoint``, ``scan``, ``while_loop``
    and ``cond``, and in what ``custom_jvp`` and ``custom_vjp`` compute (not in the derivatives
    they give). Other primitives that hold functions, as ``shard_map``, are left alone.

    In a column program of such a loss (``column_program``, ``rso``) a weight is rounded, its change
    is not. The column's pre-activation z is float32, and made of rounded inputs x and rounded
    weights; a candidate that changes one weight by d moves it by d times rounded x, in float32. A
    change below the resolution of bfloat16 (1/256 of the weight) so reaches z whole, and accepted
    changes add up in z unrounded until z is next computed from the weights; in the parameters they
    stay as they are. Changes are rounded with the weight where there is no z: in full forward
    passes, and for weights that meet something nonlinear, a loop or a gather first.

    The activations of later layers are rounded for each candidate anew, with its change in them:
    noise in the differences between candidates, which can exceed the differences where steps are
    small and layers many; experiments/benchmarks/bfloat16.py measures how many decisions it turns.
    A convolution carried out together with the average pooling after it rounds the added-up kernel
    once more, so that there a column program and a full forward pass agree to bfloat16 only.

    Args:
        function: of pytrees of arrays, giving a pytree of arrays: a ``loss_fn(params, batch)``.

    Returns:
        The same function, to be traced as that one.
    """

    def rounded(*args: P.args, **kwargs: P.kwargs) -> R:
        names: list[Any] = []

        def noting_names(*args: P.args, **kwargs: P.kwargs) -> R:
            result = function(*args, **kwargs)
            names[:] = result if isinstance(result, dict) else ()
            return result

        traced, results = jax.make_jaxpr(noting_names, return_shape=True)(*args, **kwargs)
        found = _run_rounded(traced, *jax.tree.leaves((args, kwargs)))
        result: Any = jax.tree.unflatten(jax.tree.structure(results), found)
        if names:  # of several losses, whose order says something and was sorted in tracing
            result = {name: result[name] for name in names}
        ordered: R = result
        return ordered

    return rounded


def _run_rounded(traced: ClosedJaxpr, *inputs: Array) -> list[Array]:
    """The results of a traced function with its products rounded."""
    return evaluate_by(_round_products, traced, inputs)


def _round_products(eqn: Any, operands: list[Array]) -> list[Array]:
    if _is_float32_product(eqn):
        operands = [x.astype(jnp.bfloat16) for x in operands]
        accumulated = {"preferred_element_type": jnp.dtype(jnp.float32), "precision": None}
        eqn = eqn.replace(params=eqn.params | accumulated)
    elif is_wrapper(eqn.primitive.name) or eqn.primitive.name in _LOOPS_AND_BRANCHES:
        eqn = map_inner(eqn, _retrace)
    return evaluate(eqn, operands)


def _is_float32_product(eqn: Any) -> bool:
    atoms: list[Any] = [*variables(eqn.invars), *eqn.outvars]
    return eqn.primitive.name in _PRODUCTS and [a.aval.dtype for a in atoms] == [jnp.float32] * 3


def _retrace(inner: ClosedJaxpr) -> ClosedJaxpr:
    """A traced function with its products rounded."""
    avals: list[Any] = [v.aval for v in inner.jaxpr.invars]
    takes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals]
    return jax.make_jaxpr(lambda *inputs: _run_rounded(inner, *inputs))(*takes)
