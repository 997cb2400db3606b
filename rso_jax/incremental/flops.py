"""Work of a traced function: arithmetic, and bytes moved, counted before anything runs.

Arithmetic is one operation for each element that an elementwise function gives, whatever function
it is, for each element that is reduced, and for each that lies in a window; two for each
multiplication and addition of products and convolutions. Data that are only moved cost none.

Bytes follow a model of what compilers fuse. Whatever works element by element, or only moves data,
is computed where it is read and never stored. Products and convolutions read their operands from
memory, so what is computed for them is stored first; so is what loops and branches are given. All
others read what their operands are computed from, each array at most once and no more of it than
is asked for, and write their results. An update is made in place.

Results that nobody needs are not counted.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
from jax.extend.core import Jaxpr, Literal

from rso_jax.incremental.convolution import SHIFTED_PRODUCTS
from rso_jax.incremental.jaxprs import called_by, inner_jaxprs, leading_to, variables

_VIEWS = frozenset(("bitcast_convert_type", "broadcast_in_dim", "concatenate", "copy", "copy_p"))
_VIEWS |= {"expand_dims", "iota", "pad", "reshape", "rev", "sharding_constraint", "squeeze"}
_VIEWS |= {"stack", "tile", "transpose", "unstack"}
"""Primitives that only move data."""
_CHOICES = frozenset(("dynamic_slice", "gather", "slice", "split"))
"""Those that leave some of it out."""
_PRODUCTS = frozenset(("conv_general_dilated", "dot_general", "ragged_dot_general"))
_UPDATES = {
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
_TRIPS = re.compile(r"about_([0-9.e+-]+)_times")


class Work(NamedTuple):
    """What a function does."""

    products: float
    """Operations of products and convolutions, 2 for each multiplication and addition."""
    flops: float
    """All arithmetic operations, these included."""
    bytes: float
    """Read from and written to memory."""


def count_work(function: Callable[..., Any], *arguments: Any) -> Work:
    """Arithmetic and memory traffic of a function.

    A branch counts as the dearest, a loop of unknown length as one turn unless its scope is named
    by ``expected_trips``.

    Args:
        function: any JAX function.
        arguments: its arguments, arrays or ``jax.ShapeDtypeStruct``.
    """
    work = _work_of(jax.make_jaxpr(function)(*arguments).jaxpr)
    return Work(*(round(count) for count in work))


def count_flops(function: Callable[..., Any], *arguments: Any) -> int:
    """Operations of the products and convolutions in a function, which ``count_work`` has too.

    A multiplication and an addition count 2, also where a convolution was written as a sum of
    shifted products.

    Args:
        function: any JAX function.
        arguments: its arguments, arrays or ``jax.ShapeDtypeStruct``.
    """
    return int(count_work(function, *arguments).products)


def total_work(*parts: tuple[float, Work]) -> Work:
    """The work of all parts, each done so many times."""
    return Work(
        sum(times * work.products for times, work in parts),
        sum(times * work.flops for times, work in parts),
        sum(times * work.bytes for times, work in parts),
    )


def expected_trips(trips: float) -> str:
    """The name of a scope whose loops of unknown length are counted as so many turns.

    Args:
        trips: turns to be expected: ``with jax.named_scope(expected_trips(3.5)):``.
    """
    return f"about_{trips:.6g}_times"


@dataclass(frozen=True, eq=False)
class _Stored:
    """An array in memory; no two are equal."""

    bytes: int
    itemsize: int


class _Value(NamedTuple):
    """An array along the way, stored or computed where it is read."""

    reads: dict[_Stored, int]
    """Bytes that it takes of stored arrays."""
    computed: bool
    """Whether there is arithmetic in it; if not it is a view."""


_NONE = Work(0, 0, 0)
_CONSTANT = _Value({}, False)


def _work_of(jaxpr: Jaxpr) -> Work:
    """Of a function whose arguments are stored, and whose results are to be."""
    work, results = _walk(jaxpr, [_stored(v) for v in jaxpr.invars], jaxpr.outvars)
    stored = (_store(v, result) for v, result in zip(jaxpr.outvars, results, strict=True))
    return total_work((1, work), *((1, each) for each in stored))


def _walk(
    jaxpr: Jaxpr, inputs: Sequence[_Value], needed: Sequence[Any]
) -> tuple[Work, list[_Value]]:
    """Work of the equations that some variables need, and the results."""
    values = dict(zip(jaxpr.invars, inputs, strict=True))
    values |= {v: _stored(v) for v in jaxpr.constvars}

    def read(atom: Any) -> _Value:
        return _CONSTANT if isinstance(atom, Literal) else values.get(atom, _CONSTANT)

    works: list[Work] = []
    eqns = leading_to(needed, jaxpr.eqns)
    used = {*variables(needed), *(v for eqn in eqns for v in variables(eqn.invars))}
    for eqn in eqns:
        name = eqn.primitive.name
        if (called := called_by(eqn)) is not None:
            pairs = zip(called.jaxpr.outvars, eqn.outvars, strict=True)
            wanted = [v for v, outer in pairs if outer in used]
            work, results = _walk(called.jaxpr, [read(atom) for atom in eqn.invars], wanted)
            works.append(work)
        elif name in _VIEWS | _CHOICES or is_elementwise(eqn):
            operands = [read(atom) for atom in eqn.invars]
            results = [_fused(v, operands, name) for v in eqn.outvars]
            works.append(_arithmetic(eqn))
        else:
            inside = _inner(eqn)
            for atom in variables(eqn.invars) if inside or name in _PRODUCTS else []:
                if read(atom).computed:
                    works.append(_store(atom, values[atom]))
                    values[atom] = _stored(atom)
            operands = [read(atom) for atom in eqn.invars]
            works += [_inside(eqn)] if inside else [_arithmetic(eqn), _traffic(eqn, operands)]
            results = [_stored(v) for v in eqn.outvars]
        values.update(zip(eqn.outvars, results, strict=True))
    return total_work(*((1, work) for work in works)), [read(atom) for atom in jaxpr.outvars]


def is_elementwise(eqn: Any) -> bool:
    """Whether an equation computes every element of its result of one element of each operand."""
    name = eqn.primitive.name
    others = {*_VIEWS, *_CHOICES, *_PRODUCTS, *_UPDATES, *_FACTORS, *_OTHERS}
    if name in others or len(eqn.outvars) != 1:
        return False
    if _reduces(name) or "window_dimensions" in eqn.params or _inner(eqn):
        return False
    return all(_stretches(atom, eqn.outvars[0].aval.shape) for atom in eqn.invars)


def _stretches(atom: Any, shape: tuple[int, ...]) -> bool:
    given = getattr(atom.aval, "shape", None)
    if given is None or len(given) not in (0, len(shape)):
        return False
    return all(n in (1, m) for n, m in zip(given, shape, strict=False))


def _reduces(name: str) -> bool:
    return name.startswith(("arg", "cum", "reduce")) and name != "reduce_precision"


def _arithmetic(eqn: Any) -> Work:
    """Of an equation without functions inside; what it moves is not counted here."""
    products = _products(eqn)
    if eqn.primitive.name in _PRODUCTS:
        return Work(products, products, 0)
    return Work(products, _operations(eqn), 0)


def _products(eqn: Any) -> int:
    name, results = eqn.primitive.name, _elements(eqn.outvars)
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


def _operations(eqn: Any) -> float:
    """Arithmetic of an equation that is no product."""
    name, results = eqn.primitive.name, _elements(eqn.outvars)
    given = _elements(eqn.invars[:1])
    shape: tuple[int, ...] = getattr(eqn.invars[0].aval, "shape", ()) if eqn.invars else ()
    if name in _VIEWS | _CHOICES | {"dynamic_update_slice", "scatter", "optimization_barrier"}:
        return 0
    if name in _UPDATES:
        return _elements([eqn.invars[_UPDATES[name]]])
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
        return _elements(eqn.invars[1:2]) * shape[-1]
    return results


def _traffic(eqn: Any, operands: Sequence[_Value]) -> Work:
    """Of an equation that stores its results."""
    name = eqn.primitive.name
    if name in _UPDATES:
        # The rest of what is updated stays where it is; what is added to is read first.
        written = _bytes(eqn.invars[_UPDATES[name]])
        accesses = 1 if name in ("dynamic_update_slice", "scatter") else 2
        return Work(0, 0, accesses * written + sum(_together(operands[1:]).values()))
    return Work(0, 0, sum(_together(operands).values()) + sum(map(_bytes, eqn.outvars)))


def _inside(eqn: Any) -> Work:
    """Of a loop, a branch, or whatever else holds functions."""
    works, name, times = [_work_of(inner) for inner in _inner(eqn)], eqn.primitive.name, 1.0
    if name == "cond":
        return max(works, key=lambda work: (work.flops, work.bytes))
    if name == "scan":
        times = eqn.params["length"]
    if name == "while":
        told = _TRIPS.findall(str(eqn.source_info.name_stack))
        times = float(told[-1]) if told else 1.0
    return total_work(*((times, work) for work in works))


def _inner(eqn: Any) -> list[Jaxpr]:
    """The functions an equation holds, apart from those that say how two elements combine."""
    name = eqn.primitive.name
    if name.startswith(("reduce", "scatter", "select_and_")):
        return []
    if name == "custom_linear_solve":
        return [eqn.params["jaxprs"].solve.jaxpr]
    return [inner.jaxpr for inner in inner_jaxprs(eqn)]


def _stored(variable: Any) -> _Value:
    size = _bytes(variable)
    return _Value({_Stored(size, _itemsize(variable)): size}, False)


def _store(variable: Any, value: _Value) -> Work:
    """Of computing a value and writing it; a view of what is stored is left where it is."""
    read, written = sum(value.reads.values()), _bytes(variable)
    return Work(0, 0, read + written) if value.computed or read != written else _NONE


def _fused(variable: Any, operands: Sequence[_Value], name: str) -> _Value:
    """The value of an equation that is computed where it is read."""
    reads = _together(operands)
    if name in _CHOICES:
        count = _elements([variable])
        reads = {array: min(n, count * array.itemsize) for array, n in reads.items()}
    arithmetic = name not in _VIEWS | _CHOICES
    return _Value(reads, arithmetic or any(operand.computed for operand in operands))


def _together(values: Iterable[_Value]) -> dict[_Stored, int]:
    """What some values read, no array more than once."""
    reads: dict[_Stored, int] = {}
    for value in values:
        for array, count in value.reads.items():
            reads[array] = min(reads.get(array, 0) + count, array.bytes)
    return reads


def _elements(atoms: Sequence[Any]) -> int:
    return sum(math.prod(getattr(atom.aval, "shape", ())) for atom in atoms)


def _bytes(atom: Any) -> int:
    return _elements([atom]) * _itemsize(atom)


def _itemsize(atom: Any) -> int:
    return getattr(getattr(atom.aval, "dtype", None), "itemsize", 0)
