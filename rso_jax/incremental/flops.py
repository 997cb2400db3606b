"""Work of a traced function: arithmetic, and bytes moved, counted before anything runs.

Arithmetic is counted operation by operation, as ``arithmetic`` says.

Bytes follow a model of what compilers fuse. Whatever works element by element, or only moves data,
is computed where it is read and never stored. Products and convolutions read their operands from
memory, so what is computed for them is stored first; so is what loops and branches are given. All
others read what their operands are computed from, each array at most once and no more of it than
is asked for, and write their results. An update is made in place.

Results that nobody needs are not counted.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
from jax.extend.core import Jaxpr, Literal

from rso_jax.incremental.arithmetic import (
    CHOICES,
    PRODUCTS,
    UPDATES,
    VIEWS,
    count_elements,
    count_operations,
    count_products,
    functions_in,
    is_elementwise,
)
from rso_jax.incremental.jaxprs import called_by, leading_to, variables

_TRIPS = re.compile(r"about_([0-9.e+-]+)_times")


class Work(NamedTuple):
    """How much a function computes and moves."""

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
    """The work of a function whose arguments are stored, and whose results are to be."""
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
        elif name in VIEWS | CHOICES or is_elementwise(eqn):
            operands = [read(atom) for atom in eqn.invars]
            results = [_fused(v, operands, name) for v in eqn.outvars]
            works.append(_arithmetic(eqn))
        else:
            inside = functions_in(eqn)
            for atom in variables(eqn.invars) if inside or name in PRODUCTS else []:
                if read(atom).computed:
                    works.append(_store(atom, values[atom]))
                    values[atom] = _stored(atom)
            operands = [read(atom) for atom in eqn.invars]
            works += [_inside(eqn)] if inside else [_arithmetic(eqn), _traffic(eqn, operands)]
            results = [_stored(v) for v in eqn.outvars]
        values.update(zip(eqn.outvars, results, strict=True))
    return total_work(*((1, work) for work in works)), [read(atom) for atom in jaxpr.outvars]


def _arithmetic(eqn: Any) -> Work:
    """The arithmetic of an equation without functions inside."""
    products = count_products(eqn)
    if eqn.primitive.name in PRODUCTS:
        return Work(products, products, 0)
    return Work(products, count_operations(eqn), 0)


def _traffic(eqn: Any, operands: Sequence[_Value]) -> Work:
    """The bytes that an equation moves which stores its results."""
    name = eqn.primitive.name
    if name in UPDATES:
        # The rest of what is updated stays where it is; what is added to is read first.
        written = _bytes(eqn.invars[UPDATES[name]])
        accesses = 1 if name in ("dynamic_update_slice", "scatter") else 2
        return Work(0, 0, accesses * written + sum(_together(operands[1:]).values()))
    return Work(0, 0, sum(_together(operands).values()) + sum(map(_bytes, eqn.outvars)))


def _inside(eqn: Any) -> Work:
    """The work of a loop, a branch, or whatever else holds functions."""
    works, name, times = [_work_of(inner) for inner in functions_in(eqn)], eqn.primitive.name, 1.0
    if name == "cond":
        return max(works, key=lambda work: (work.flops, work.bytes))
    if name == "scan":
        times = eqn.params["length"]
    if name == "while":
        told = _TRIPS.findall(str(eqn.source_info.name_stack))
        times = float(told[-1]) if told else 1.0
    return total_work(*((times, work) for work in works))


def _stored(variable: Any) -> _Value:
    size = _bytes(variable)
    return _Value({_Stored(size, _itemsize(variable)): size}, False)


def _store(variable: Any, value: _Value) -> Work:
    """The work of storing a value; a view of what is stored is left where it is."""
    read, written = sum(value.reads.values()), _bytes(variable)
    return Work(0, 0, read + written) if value.computed or read != written else _NONE


def _fused(variable: Any, operands: Sequence[_Value], name: str) -> _Value:
    """The value of an equation that is computed where it is read."""
    reads = _together(operands)
    if name in CHOICES:
        count = count_elements([variable])
        reads = {array: min(n, count * array.itemsize) for array, n in reads.items()}
    arithmetic = name not in VIEWS | CHOICES
    return _Value(reads, arithmetic or any(operand.computed for operand in operands))


def _together(values: Iterable[_Value]) -> dict[_Stored, int]:
    """What some values read, no array more than once."""
    reads: dict[_Stored, int] = {}
    for value in values:
        for array, count in value.reads.items():
            reads[array] = min(reads.get(array, 0) + count, array.bytes)
    return reads


def _bytes(atom: Any) -> int:
    return count_elements([atom]) * _itemsize(atom)


def _itemsize(atom: Any) -> int:
    return getattr(getattr(atom.aval, "dtype", None), "itemsize", 0)
