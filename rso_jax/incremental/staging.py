"""Staging: a traced function cut into parts by which of its inputs each operation needs."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from jax import Array
from jax.extend.core import ClosedJaxpr, Jaxpr

from rso_jax.incremental.jaxprs import function_of, variables


class Stage(NamedTuple):
    """The operations that need inputs of this stage, and of earlier ones, only."""

    run: Callable[..., list[Array]]
    """From the values of ``takes`` to those of ``gives``."""
    takes: list[Any]
    """Variables: inputs of the function, or given by earlier stages."""
    gives: list[Any]
    """Variables: those later stages take; of the last stage the results."""


def split(traced: ClosedJaxpr, stage_of_inputs: Sequence[int]) -> list[Stage]:
    """Cut a traced function into stages 0, 1, and so on.

    Args:
        traced: the function. What its results do not need is dropped.
        stage_of_inputs: for each input the stage at which it is known.
    """
    jaxpr = traced.jaxpr
    last = max(stage_of_inputs)
    stage = dict(zip(jaxpr.invars, stage_of_inputs, strict=True)) | dict.fromkeys(
        jaxpr.constvars, 0
    )
    eqns: list[list[Any]] = [[] for _ in range(last + 1)]
    for eqn in _needed(jaxpr):
        at = max((stage[v] for v in variables(eqn.invars)), default=0)
        eqns[at].append(eqn)
        stage.update(dict.fromkeys(eqn.outvars, at))

    constants = dict(zip(jaxpr.constvars, traced.consts, strict=True))
    results = list(variables(jaxpr.outvars))
    stages = []
    for at in range(last + 1):
        made = {v: None for eqn in eqns[at] for v in eqn.outvars}
        used = _used(eqns[at]) | (dict.fromkeys(results) if at == last else {})
        later = dict.fromkeys(results)
        for after in eqns[at + 1 :]:
            later |= _used(after)
        takes = [v for v in used if v not in made and v not in constants]
        gives = list(jaxpr.outvars) if at == last else [v for v in made if v in later]
        held = {v: constants[v] for v in used if v in constants}
        stages.append(Stage(function_of(eqns[at], takes, gives, held), takes, gives))
    return stages


def _needed(jaxpr: Jaxpr) -> list[Any]:
    needed = dict.fromkeys(variables(jaxpr.outvars))
    kept = []
    for eqn in reversed(jaxpr.eqns):
        if eqn.effects or any(v in needed for v in eqn.outvars):
            kept.append(eqn)
            needed.update(dict.fromkeys(variables(eqn.invars)))
    return kept[::-1]


def _used(eqns: Iterable[Any]) -> dict[Any, None]:
    return {v: None for eqn in eqns for v in variables(eqn.invars)}
