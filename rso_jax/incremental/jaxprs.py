"""Jaxprs: running some equations of a traced function on their own."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun

CALLS = frozenset(
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
"""Primitives that only wrap a function."""


@cache
def _empty() -> Jaxpr:
    # A jaxpr needs debugging information that only tracing makes; that of no function fits all.
    return jax.make_jaxpr(lambda: ())().jaxpr


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
    effects = frozenset().union(*(eqn.effects for eqn in eqns))
    jaxpr = _empty().replace(
        constvars=list(constants),
        invars=list(takes),
        outvars=list(gives),
        eqns=list(eqns),
        effects=effects,
    )
    run: Callable[..., list[Array]] = jaxpr_as_fun(ClosedJaxpr(jaxpr, list(constants.values())))

    def unchecked(*operands: Array) -> list[Array]:
        # JAX's checks of itself compare arguments with the shapes that were traced.
        with jax.enable_checks(False):
            return run(*operands)

    return unchecked if jax.config.jax_enable_checks else run  # type: ignore[attr-defined]


def evaluate(eqn: Any, operands: Sequence[Array]) -> list[Array]:
    """One equation applied to other operands, which may have other sizes."""
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


def called_by(eqn: Any) -> ClosedJaxpr:
    """The function that one of ``CALLS`` wraps."""
    inner = next(eqn.params[k] for k in ("jaxpr", "call_jaxpr") if k in eqn.params)
    return inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())


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
