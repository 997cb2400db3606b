"""Scans: a loop of which a column changes some iterations, or some of what an iteration computes.

Layers stacked in one array are scanned over: the loop is entered at the layer of the column, and
what came before is known. Where every iteration uses the column, as the steps of a recurrent
network do, an iteration is cut in two: what the column cannot change is scanned once and kept, the
rest is scanned for every candidate.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from rso_jax.incremental.flops import expected_trips
from rso_jax.incremental.forms import Arrays, Form, form_inside, form_of, form_outside, join
from rso_jax.incremental.jaxprs import scan_parts
from rso_jax.incremental.staging import of_equations, run, split
from rso_jax.incremental.values import (
    Dense,
    Range,
    Same,
    Sliced,
    Sum,
    Value,
    sliced,
    whole,
)
from rso_jax.incremental.views import merge, whole_along

Interpret = Callable[[Any, Sequence[Any], Sequence[Value]], list[Value]]


class _Scan(NamedTuple):
    """The parameters and operands of a scan."""

    body: ClosedJaxpr
    length: int
    reverse: bool
    constants: list[Value]
    start: list[Value]
    inputs: list[Value]


def scan(eqn: Any, operands: Sequence[Value], interpret: Interpret) -> list[Value] | None:
    """The results of a scan, some of whose operands depend on the column.

    Args:
        eqn: of the scan.
        operands: constants, carries at the start and what is scanned over.
        interpret: ``(jaxpr, constants, values) -> values``.
    """
    p = eqn.params
    if eqn.effects or not p["length"]:
        return None
    ready: list[Value] = [Dense(whole(v)) if isinstance(v, Sum) else v for v in operands]
    begin, carried = scan_parts(eqn)
    end = begin + carried
    loop = _Scan(
        p["jaxpr"], p["length"], p["reverse"], ready[:begin], ready[begin:end], ready[end:]
    )
    at = _own_iteration(loop)
    if at is not None:
        return _enter(loop, at, interpret)
    return _scan_in_two(loop, interpret)


def _own_iteration(loop: _Scan) -> Range | None:
    """The one iteration whose inputs the column is among, if that is all that depends on it."""
    if not all(isinstance(v, Same) for v in (*loop.constants, *loop.start)):
        return None
    leading: set[Range | None] = set()
    for value in loop.inputs:
        if isinstance(value, Sliced):
            leading.add(value.ranges[0] if value.groups[0] == 1 else None)
        elif isinstance(value, Dense):
            return None
    found = leading.pop() if len(leading) == 1 else None
    return found if found is not None and found.size == 1 else None


def _enter(loop: _Scan, at: Range, interpret: Interpret) -> list[Value]:
    """The loop as it was up to that iteration, that iteration for the column, and the rest."""
    body = jaxpr_as_fun(loop.body)
    constants = [whole(v) for v in loop.constants]
    inputs = [v.base.reshape(v.shape) if isinstance(v, Sliced) else whole(v) for v in loop.inputs]
    carries = len(loop.start)

    def known(carry: list[Array], x: list[Array]) -> tuple[list[Array], Any]:
        found = body(*constants, *carry, *x)
        return found[:carries], (carry, found[carries:])

    start = [whole(v) for v in loop.start]
    _, (before, results) = lax.scan(known, start, inputs, length=loop.length, reverse=loop.reverse)
    own = at.start.value()
    entered = [Same(lax.dynamic_index_in_dim(x, own, keepdims=False)) for x in before]
    here = [_take_row(v, own) for v in loop.inputs]
    found = interpret(loop.body.jaxpr, loop.body.consts, [*loop.constants, *entered, *here])
    arrays = [whole(v) for v in found]
    results = [
        lax.dynamic_update_index_in_dim(ys, y, own, 0)
        for ys, y in zip(results, arrays[carries:], strict=True)
    ]
    step = jnp.int32(-1 if loop.reverse else 1)

    def later(number: Array, state: tuple[list[Array], list[Array]]) -> Any:
        carry, results = state
        i = own + step * (number + jnp.int32(1))
        x = [lax.dynamic_index_in_dim(a, i, keepdims=False) for a in inputs]
        found = body(*constants, *carry, *x)
        written = [
            lax.dynamic_update_index_in_dim(ys, y, i, 0)
            for ys, y in zip(results, found[carries:], strict=True)
        ]
        return found[:carries], written

    left = own if loop.reverse else jnp.int32(loop.length - 1) - own
    with jax.named_scope(expected_trips((loop.length - 1) / 2)):
        carry, results = lax.fori_loop(jnp.int32(0), left, later, (arrays[:carries], results))
    return [Dense(x) for x in (*carry, *results)]


def _take_row(value: Value, at: Array) -> Value:
    """One index of the leading axis; of a slice that is a range of it, its only one."""
    if not isinstance(value, Sliced):
        return Same(lax.dynamic_index_in_dim(whole(value), at, keepdims=False))
    base = lax.dynamic_index_in_dim(value.base, at, keepdims=False)
    if value.ranges[0] is None:
        part = lax.dynamic_index_in_dim(value.part, at, keepdims=False)
    else:
        part = value.part.reshape(value.part.shape[1:])
    return sliced(base, part, value.ranges[1:], value.groups[1:])


def _scan_in_two(loop: _Scan, interpret: Interpret) -> list[Value] | None:
    """The results of a scan of what is known, which are kept, and of a scan of the rest."""
    inputs = [_lay_along_loop(v) for v in loop.inputs]
    constant_forms = [form_of(v) for v in loop.constants]
    input_forms = [form_inside(v) for v in inputs]
    constants = Arrays.of(loop.constants, constant_forms)
    scanned = Arrays.of(inputs, [form_of(v) for v in inputs])
    one = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), scanned)
    results: list[Form] = []

    def iteration(constants: Arrays, carry: Arrays, x: Arrays) -> tuple[Arrays, Arrays]:
        values = constants.values(constant_forms) + carry.values(forms) + x.values(input_forms)
        found = interpret(loop.body.jaxpr, loop.body.consts, values)
        results[:] = map(form_of, found)
        n = len(forms)
        wanted = [join(f, r) for f, r in zip(forms, results, strict=False)]
        if wanted != forms:  # only the forms matter
            return carry, Arrays([], [])
        return Arrays.of(found[:n], forms), Arrays.of(found[n:], results[n:])

    forms = [form_of(v) for v in loop.start]
    while True:
        carry = Arrays.of(loop.start, forms)
        traced, shapes = jax.make_jaxpr(iteration, return_shape=True)(constants, carry, one)
        wanted = [join(f, r) for f, r in zip(forms, results, strict=False)]
        if wanted == forms:
            break
        forms = wanted
    after, collected = _run_in_two(traced, shapes, constants, carry, scanned, loop)
    outer = [form_outside(f, loop.length) for f in results[len(forms) :]]
    return after.values(forms) + collected.values(outer)


def _lay_along_loop(value: Value) -> Value:
    """The value with an axis of its view for the loop, and no range of it."""
    if not isinstance(value, Sliced):
        return value
    found = merge(value, 0)
    found = whole_along(found, [0]) if found is not None else None
    return found if found is not None else Dense(whole(value))


def _run_in_two(
    traced: ClosedJaxpr,
    shapes: Any,
    constants: Arrays,
    carry: Arrays,
    scanned: Arrays,
    loop: _Scan,
) -> tuple[Arrays, Arrays]:
    """Carries after the last iteration, and what all of them collected.

    Args:
        traced: an iteration, ``(constants, carry, inputs) -> (carry, results)``.
        shapes: of its results.
        constants: of the loop.
        carry: at its start.
        scanned: its inputs, with the axis of the loop.
        loop: its length and direction.
    """
    # Input variables, and results, in the same structure as the arrays.
    parts = jax.tree.structure((constants, carry, scanned))
    invars = jax.tree.unflatten(parts, traced.jaxpr.invars)
    of_constants, of_carry, of_inputs = invars
    out_carry, out_results = jax.tree.unflatten(jax.tree.structure(shapes), traced.jaxpr.outvars)
    stage = {v: 2 for group in invars for v in group.unknown}
    stage |= dict.fromkeys(of_constants.known, 0)
    stage |= dict.fromkeys([*of_carry.known, *of_inputs.known], 1)
    if 2 not in stage.values():
        stage[traced.jaxpr.invars[0]] = 2
    first, second, third = split(traced, [stage[v] for v in traced.jaxpr.invars])
    all_constants = dict(zip(traced.jaxpr.constvars, traced.consts, strict=True))
    unknown_outs = [*out_carry.unknown, *out_results.unknown]
    later = of_equations(third.eqns, unknown_outs, all_constants)
    kept = [v for v in later.takes if v in {*second.gives, *of_carry.known}]
    known_outs = [*out_carry.known, *out_results.known]
    earlier = of_equations(second.eqns, [*known_outs, *kept], all_constants)
    invariant = dict(zip(of_constants.known, constants.known, strict=True))
    invariant |= dict(zip(first.gives, run(first, invariant), strict=True))
    of_column = invariant | dict(zip(of_constants.unknown, constants.unknown, strict=True))
    known_carries, unknown_carries = len(of_carry.known), len(of_carry.unknown)

    def know(state: list[Array], x: list[Array]) -> tuple[list[Array], list[Array]]:
        values = invariant | dict(
            zip([*of_carry.known, *of_inputs.known], [*state, *x], strict=True)
        )
        found = run(earlier, values)
        return found[:known_carries], found[known_carries:]

    def find(state: list[Array], x: tuple[list[Array], ...]) -> tuple[list[Array], list[Array]]:
        values = dict(of_column)
        for variables, arrays in zip(
            (of_carry.unknown, of_inputs.known, of_inputs.unknown, kept), (state, *x), strict=True
        ):
            values |= dict(zip(variables, arrays, strict=True))
        found = run(later, values)
        return found[:unknown_carries], found[unknown_carries:]

    over = partial(lax.scan, length=loop.length, reverse=loop.reverse)
    known, collected = over(know, carry.known, scanned.known)
    results = len(out_results.known)
    residuals = collected[results:]
    xs = (scanned.known, scanned.unknown, residuals)
    unknown, found = over(find, carry.unknown, xs)
    return Arrays(known, unknown), Arrays(collected[:results], found)
