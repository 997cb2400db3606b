"""Staging: a traced function cut into parts by which of its inputs each operation needs."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jax import Array
from jax.extend.core import ClosedJaxpr

from rso_jax.incremental.jaxprs import function_of, leading_to, variables

# Made from nothing, these are as quickly made again as read: no stage hands them to the next.
_FILLS = {"iota", "broadcast_in_dim", "reshape", "convert_element_type"}
_EVERY = -1  # in place of the number of their stage


class Portion(NamedTuple):
    """The operations that need inputs of this stage, and of earlier ones, only."""

    eqns: list[Any]
    """In order."""
    takes: list[Any]
    """Variables: inputs of the function, or given by earlier stages."""
    gives: list[Any]
    """Variables: those later stages take; of the last stage the results."""
    constants: dict[Any, Any]
    """Values of the traced function's constants that the operations take."""


def run(stage: Portion, values: Mapping[Any, Array]) -> list[Array]:
    """Values of ``gives`` from those of ``takes``; others may be there too."""
    function = function_of(stage.eqns, stage.takes, stage.gives, stage.constants)
    return function(*(values[v] for v in stage.takes))


def split(traced: ClosedJaxpr, stage_of_inputs: Sequence[int]) -> list[Portion]:
    """Cut a traced function into stages 0, 1, and so on.

    Args:
        traced: the function. What its results do not need is dropped.
        stage_of_inputs: for each input the stage at which it is known.
    """
    jaxpr = traced.jaxpr
    last = max(stage_of_inputs)
    stage_of = dict(zip(jaxpr.invars, stage_of_inputs, strict=True))
    stage_of |= dict.fromkeys(jaxpr.constvars, 0)
    needed, fills = leading_to(jaxpr.outvars, jaxpr.eqns), set[Any]()
    own: list[int] = []
    for eqn in needed:
        if eqn.primitive.name in _FILLS and fills.issuperset(variables(eqn.invars)):
            fills.update(eqn.outvars)
            own.append(_EVERY)
            continue
        own.append(max((stage_of[v] for v in variables(eqn.invars) if v not in fills), default=0))
        stage_of.update(dict.fromkeys(eqn.outvars, own[-1]))
    _cut_later(needed, own, stage_of)
    eqns: list[list[Any]] = [
        [eqn for eqn, at in zip(needed, own, strict=True) if at in (stage, _EVERY)]
        for stage in range(last + 1)
    ]
    constants = dict(zip(jaxpr.constvars, traced.consts, strict=True))
    stages: list[Portion] = []
    gives = list(jaxpr.outvars)
    for at in range(last, -1, -1):
        stage = of_equations(eqns[at], gives, constants)
        stages.insert(0, stage)
        wanted = dict.fromkeys(v for later in stages for v in later.takes)
        gives = [v for v in wanted if at and stage_of[v] == at - 1 and v not in jaxpr.invars]
    return stages


def _cut_later(eqns: Sequence[Any], own: list[int], stage_of: dict[Any, int]) -> None:
    """Move slices to the stage that takes them, where together they are larger than their source.

    Cut ahead of it they would be copies, such as an image shifted to each place of a window.

    Args:
        eqns: in order.
        own: the stage of each. Changed.
        stage_of: by variable. Changed.
    """
    taken_at: dict[Any, int] = {}
    slices: dict[Any, list[int]] = {}
    for i, (eqn, at) in enumerate(zip(eqns, own, strict=True)):
        for v in variables(eqn.invars):
            if at != _EVERY:
                taken_at[v] = min(at, taken_at.get(v, at))
        if eqn.primitive.name == "slice" and at != _EVERY:
            slices.setdefault(eqn.invars[0], []).append(i)
    for source, found in slices.items():
        later = [i for i in found if taken_at.get(eqns[i].outvars[0], 0) > own[i]]
        if sum(eqns[i].outvars[0].aval.size for i in later) <= source.aval.size:
            continue
        for i in later:
            (v,) = eqns[i].outvars
            own[i] = stage_of[v] = taken_at[v]


def of_equations(
    eqns: Sequence[Any], gives: Sequence[Any], constants: Mapping[Any, Any]
) -> Portion:
    """The stage of those equations that some results need."""
    kept = leading_to(gives, eqns)
    made = {v for eqn in kept for v in eqn.outvars}
    used = dict.fromkeys(v for eqn in kept for v in variables(eqn.invars))
    used |= dict.fromkeys(variables(gives))
    return Portion(
        eqns=kept,
        takes=[v for v in used if v not in made and v not in constants],
        gives=list(gives),
        constants={v: constants[v] for v in used if v in constants},
    )
