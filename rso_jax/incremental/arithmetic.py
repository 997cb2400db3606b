"""Arithmetic of an operation, by its kind.

It is one operation for each element that an elementwise function gives, whatever function it is,
for each element that is reduced, and for each that lies in a window; two for each multiplication
and addition of products and convolutions. Data that are only moved cost none.
"""

import math
from collections.abc import Sequence
from typing import Any

from jax.extend.core import Jaxpr

from rso_jax.incremental.convolution import SHIFTED_PRODUCTS
from rso_jax.incremental.jaxprs import inner_jaxprs

VIEWS = frozenset(("bitcast_convert_type", "broadcast_in_dim", "concatenate", "copy", "copy_p"))
VIEWS |= {"expand_dims", "iota", "pad", "reshape", "rev", "sharding_constraint", "squeeze"}
VIEWS |= {"stack", "tile", "transpose", "unstack"}
"""Primitives that only move data."""
CHOICES = frozenset(("dynamic_slice", "gather", "slice", "split"))
"""Those that leave some of it out."""
PRODUCTS = frozenset(("conv_general_dilated", "dot_general", "ragged_dot_general"))
UPDATES = {
    "dynamic_update_slice": 1,
    "scatter": 2,
    "scatter-add": 2,
    "scatter-max": 2,
    "scatter-min": 2,
    "scatter-mul": 2,
    "scatter-sub": 2,
}
"""Which operand is the update."""
_FACTORS = {"cholesky": 1 / 3, "eigh": 9, "householder_product": 2, "lu": 2 / 3, "svd": 12}
_FACTORS |= {"eig": 25, "geqrf": 2, "qr": 2}
"""Operations of factorising a matrix, in units of its size times its shorter side; Golub & Van
Loan, "Matrix Computations"."""
_OTHERS = frozenset(("approx_top_k", "fft", "optimization_barrier", "random_bits", "sort"))
_OTHERS |= {"threefry2x32", "top_k", "triangular_solve"}
"""Not elementwise either, though results may have the shape of what they are made of."""
_RANDOM_WORD = 60
"""Operations of drawing 32 bits by threefry: 20 rounds of 5, and the key, for two words."""


def is_elementwise(eqn: Any) -> bool:
    """Whether an equation computes every element of its result of one element of each operand."""
    name = eqn.primitive.name
    others = {*VIEWS, *CHOICES, *PRODUCTS, *UPDATES, *_FACTORS, *_OTHERS}
    if name in others or len(eqn.outvars) != 1:
        return False
    if _reduces(name) or "window_dimensions" in eqn.params or functions_in(eqn):
        return False
    return all(_stretches(atom, eqn.outvars[0].aval.shape) for atom in eqn.invars)


def _stretches(atom: Any, shape: tuple[int, ...]) -> bool:
    given = getattr(atom.aval, "shape", None)
    if given is None or len(given) not in (0, len(shape)):
        return False
    return all(n in (1, m) for n, m in zip(given, shape, strict=False))


def _reduces(name: str) -> bool:
    return name.startswith(("arg", "cum", "reduce")) and name != "reduce_precision"


def count_products(eqn: Any) -> int:
    """Operations of the multiplications and additions of a product or convolution; else 0."""
    name, results = eqn.primitive.name, count_elements(eqn.outvars)
    if name == "dot_general":
        (contract, _), _ = eqn.params["dimension_numbers"]
        left = eqn.invars[0].aval.shape
        return 2 * results * math.prod(left[a] for a in contract)
    if name == "ragged_dot_general":
        return 2 * results * int(eqn.invars[0].aval.shape[-1])
    if name == "conv_general_dilated":
        kernel = eqn.invars[1].aval.shape
        outputs = kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
        return 2 * results * math.prod(kernel) // max(outputs, 1)
    if name == "mul" and SHIFTED_PRODUCTS in str(eqn.source_info.name_stack):
        return 2 * results
    return 0


def count_operations(eqn: Any) -> float:
    """Arithmetic of an equation that is no product."""
    name, results = eqn.primitive.name, count_elements(eqn.outvars)
    given = count_elements(eqn.invars[:1])
    shape: tuple[int, ...] = getattr(eqn.invars[0].aval, "shape", ()) if eqn.invars else ()
    if name in VIEWS | CHOICES | {"dynamic_update_slice", "scatter", "optimization_barrier"}:
        return 0
    if name in UPDATES:
        return count_elements([eqn.invars[UPDATES[name]]])
    if "window_dimensions" in eqn.params:
        # A scatter goes back from windows to what they were taken from.
        windows = given if "scatter" in name else results
        return windows * math.prod(eqn.params["window_dimensions"])
    if _reduces(name):
        return given
    if name in ("sort", "top_k", "approx_top_k"):
        along = shape[eqn.params["dimension"]] if name == "sort" else shape[-1]
        return given * math.ceil(math.log2(max(along, 2)))
    if name == "fft":
        return 5 * given * math.log2(max(math.prod(eqn.params["fft_lengths"]), 2))
    if name in ("random_bits", "threefry2x32"):
        return _RANDOM_WORD * results
    if name in _FACTORS:
        return _FACTORS[name] * given * min(shape[-2:])
    if name == "triangular_solve":
        return count_elements(eqn.invars[1:2]) * shape[-1]
    return results


def functions_in(eqn: Any) -> list[Jaxpr]:
    """The functions an equation holds, apart from those that say how two elements combine."""
    name = eqn.primitive.name
    if name.startswith(("reduce", "scatter", "select_and_")):
        return []
    if name == "custom_linear_solve":
        return [eqn.params["jaxprs"].solve.jaxpr]
    return [inner.jaxpr for inner in inner_jaxprs(eqn)]


def count_elements(atoms: Sequence[Any]) -> int:
    """How many elements some operands or results have in all."""
    return sum(math.prod(getattr(atom.aval, "shape", ())) for atom in atoms)
