"""Jaxprs: what equations hold inside, and running some of a traced function on their own."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun

from rso_jax.incremental.windows import extreme_over_windows

_WRAPPERS = frozenset(
    (
        "jit",
        "pjit",
        "closed_call",
        "core_call",
        "remat",
        "remat2",
        "checkpoint",
        "custom_jvp_call",
        "custom_vjp_call",
    )
)


def is_wrapper(primitive: str) -> bool:
    """Whether a primitive only wraps a function that takes the operands as they are."""
    return primitive in _WRAPPERS


def called_by(eqn: Any) -> ClosedJaxpr | None:
    """The function that an equation wraps, if wrapping is all that it does.

    So are ``jit``, ``checkpoint`` and functions with derivatives of their own. A loop, a branch or
    a map over devices does more.
    """
    return inner_jaxprs(eqn)[0] if is_wrapper(eqn.primitive.name) else None


def inner_jaxprs(eqn: Any) -> list[ClosedJaxpr]:
    """All functions that an equation holds, with their constants, in the order of its parameters.

    They are what it calls, the branches of a ``cond``, the bodies of loops, and the functions that
    say how two elements of a reduction or a scatter combine. What only differentiation would trace,
    as the rule of a ``custom_vjp``, is not among them.
    """
    return [inner for parameter in eqn.params.values() for inner in _functions_in(parameter)]


def _functions_in(parameter: Any) -> Iterator[ClosedJaxpr]:
    if isinstance(parameter, ClosedJaxpr):
        yield parameter
    elif isinstance(parameter, Jaxpr):
        yield _closed(parameter)
    elif isinstance(parameter, tuple | list):
        for part in parameter:
            yield from _functions_in(part)


def _closed(jaxpr: Jaxpr) -> ClosedJaxpr:
    """A jaxpr whose constants, if it has any, are operands of the equation: here arguments too."""
    if not jaxpr.constvars:
        return ClosedJaxpr(jaxpr, ())
    takes = [*jaxpr.constvars, *jaxpr.invars]
    return ClosedJaxpr(jaxpr_of(jaxpr.eqns, takes, jaxpr.outvars), ())


def scan_parts(eqn: Any) -> tuple[int, int]:
    """Of the operands of a ``scan``, how many are constants, and how many are carried.

    Read from shapes: what is scanned over, and what is collected, has one axis less inside. JAX
    has kept these numbers under other names in other releases.
    """
    (body,) = inner_jaxprs(eqn)
    scanned = _with_an_axis_more(eqn.invars, body.jaxpr.invars)
    collected = _with_an_axis_more(eqn.outvars, body.jaxpr.outvars)
    carried = len(eqn.outvars) - collected
    return len(eqn.invars) - carried - scanned, carried


def _with_an_axis_more(outside: Sequence[Any], inside: Sequence[Any]) -> int:
    return sum(o.aval.ndim > i.aval.ndim for o, i in zip(outside, inside, strict=True))


def map_inner(eqn: Any, change: Callable[[ClosedJaxpr], ClosedJaxpr]) -> Any:
    """The equation with each of the functions that it holds changed.

    Args:
        eqn: an equation, whose functions take no constants apart from their arguments.
        change: gives a function of as many arguments and results.
    """

    def mapped(parameter: Any) -> Any:
        if isinstance(parameter, ClosedJaxpr):
            return change(parameter)
        if isinstance(parameter, Jaxpr):
            return change(ClosedJaxpr(parameter, ())).jaxpr
        if isinstance(parameter, tuple | list):
            kind = type(parameter)
            return getattr(kind, "_make", kind)(map(mapped, parameter))
        return parameter

    return eqn.replace(params={name: mapped(value) for name, value in eqn.params.items()})


def walk(jaxpr: Jaxpr) -> Iterator[Any]:
    """Each equation of a jaxpr, before those of the functions that it holds."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in inner_jaxprs(eqn):
            yield from walk(inner.jaxpr)


@cache
def _empty() -> Jaxpr:
    # A jaxpr needs debugging information that only tracing makes; that of no function fits all.
    return jax.make_jaxpr(lambda: ())().jaxpr


def jaxpr_of(
    eqns: Sequence[Any], takes: Sequence[Any], gives: Sequence[Any], constants: Sequence[Any] = ()
) -> Jaxpr:
    """The jaxpr of some equations, in order, from and to variables; constants are variables too."""
    return _empty().replace(
        constvars=list(constants),
        invars=list(takes),
        outvars=list(gives),
        eqns=list(eqns),
        effects=frozenset().union(*(eqn.effects for eqn in eqns)),
    )


def function_of(
    eqns: Sequence[Any],
    takes: Sequence[Any],
    gives: Sequence[Any],
    constants: Mapping[Any, Any],
) -> Callable[..., list[Array]]:
    """The function that some equations compute.

    By way of a jaxpr of its own, because how parameters are handed to a primitive changes from
    release to release of JAX and this way is JAX's own business. Arrays of other sizes than
    were traced may be passed, as far as the equations name no size.

    Args:
        eqns: in order.
        takes: variables for the arguments.
        gives: variables for the results.
        constants: variables with known values.
    """
    jaxpr = jaxpr_of(eqns, takes, gives, list(constants))
    run: Callable[..., list[Array]] = jaxpr_as_fun(ClosedJaxpr(jaxpr, list(constants.values())))

    def unchecked(*operands: Array) -> list[Array]:
        # JAX's checks of itself compare arguments with the shapes that were traced.
        with jax.enable_checks(False):
            return run(*operands)

    return unchecked if jax.config.jax_enable_checks else run  # type: ignore[attr-defined]


def evaluate(eqn: Any, operands: Sequence[Array]) -> list[Array]:
    """One equation applied to other operands, which may have other sizes."""
    if operands and (found := extreme_over_windows(eqn, operands[0])) is not None:
        return [found]
    given = {v: x for v, x in zip(eqn.invars, operands, strict=True) if not isinstance(v, Literal)}
    return function_of([eqn], list(given), eqn.outvars, {})(*given.values())


def evaluate_by(
    apply: Callable[[Any, list[Array]], Sequence[Array]], traced: ClosedJaxpr, inputs: Sequence[Any]
) -> list[Array]:
    """The results of a traced function, each of its equations applied in a way of one's own.

    Args:
        apply: ``(equation, operands) -> results``; see ``evaluate``.
        traced: the function.
        inputs: its arguments.
    """
    jaxpr = traced.jaxpr
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, traced.consts, strict=True))
    values.update(zip(jaxpr.invars, inputs, strict=True))

    def read(atom: Any) -> Any:
        constant = isinstance(atom, Literal)
        return jnp.asarray(atom.val, atom.aval.dtype) if constant else values[atom]

    eqns: list[Any] = jaxpr.eqns
    for eqn in eqns:
        results = apply(eqn, [read(atom) for atom in eqn.invars])
        values.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def without_calls(traced: ClosedJaxpr) -> ClosedJaxpr:
    """The same function with all that it calls written out: no equation only wraps another."""

    def apply(eqn: Any, operands: list[Array]) -> Sequence[Array]:
        called = called_by(eqn)
        return evaluate(eqn, operands) if called is None else evaluate_by(apply, called, operands)

    def function(*inputs: Array) -> list[Array]:
        return evaluate_by(apply, traced, inputs)

    return jax.make_jaxpr(function)(*structs_of_variables(traced.jaxpr.invars))


def structs_of_variables(of: Iterable[Any]) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Shapes and types of variables, weak as they are."""
    return tuple(
        jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype, weak_type=v.aval.weak_type) for v in of
    )


def variables(atoms: Iterable[Any]) -> list[Any]:
    """Those of some atoms that are no literals."""
    return [v for v in atoms if not isinstance(v, Literal)]


def leading_to(results: Iterable[Any], eqns: Sequence[Any]) -> list[Any]:
    """Those of some equations that results need, in order; what has effects stays."""
    needed, kept = set(variables(results)), []
    for eqn in reversed(eqns):
        if eqn.effects or any(v in needed for v in eqn.outvars):
            kept.append(eqn)
            needed.update(variables(eqn.invars))
    return kept[::-1]
