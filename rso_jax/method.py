"""A method: how parameters are trained, by pure functions of an explicit state.

Searches and baselines are methods alike. A cycle is made of stages and a stage of visits: of a
search a stage is the sweep of one leaf, of a gradient method the steps on all mini-batches of the
cycle. A stage is what is compiled once and can be interrupted at its boundaries, so that a loop can
look at the clock, save, and go on where it was.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh

from rso_jax.arrays import kind_of
from rso_jax.errors import UserError
from rso_jax.trees import holds_weights

PyTree = Any


class Stage(NamedTuple):
    """One part of a cycle."""

    name: str
    """What it is called in its cycle; of a search, the path of the leaf that it sweeps."""
    boundaries: np.ndarray
    """Visits before which the stage may be interrupted, ascending, both ends included."""
    at_once: bool = False
    """Whether visits between two boundaries are decided at once, so that no call makes fewer."""

    @property
    def visits(self) -> int:
        """The number of its visits."""
        return int(self.boundaries[-1])

    def next_boundary(self, visit: int, wanted: int) -> int:
        """The first boundary from ``visit + wanted`` on, or the end."""
        found = np.searchsorted(self.boundaries, min(visit + wanted, self.visits))
        return int(self.boundaries[found])


class Info(NamedTuple):
    """What some visits did and cost; of a whole cycle, the sum over its stages."""

    loss: Array
    """Loss of one example, on the mini-batch of the last visit: of a search after it, of a gradient
    step before it, of an evolution strategy the mean over the population. Of several losses it is
    that which the leaf of the last visit is searched on; of a method that steps along slopes or
    gradients, the last."""
    accepted: Array
    """Number of visits that changed their weight; of a gradient method, all steps."""
    not_finite: Array | int = 0
    """Number of candidates evaluated whose loss was NaN or infinite, which are never accepted."""
    visits: int = 0
    """Number of changes proposed: weights visited by a search, steps of a gradient method,
    generations."""
    decisions: int = 0
    """Number of decisions made one after the other: a visit each, or a block of them."""
    weight_updates: int = 0
    """Number of weights visited: one for a visit of a search, all of them for a gradient step."""
    candidates: int = 0
    """Number of candidates evaluated, the incumbent among them; 0 of a baseline."""
    image_evaluations: int = 0
    """Number of forward passes of one example, or their equivalent."""
    choices: Array | None = None
    """Candidate at which each visit of a search kept its weight, int8 of the leaf's shape: 0 for
    the incumbent, -1, -2, ... for the joint steps of a block."""
    losses: Array | None = None
    """Mini-batch loss of the candidate that each visit kept, of the leaf's shape; of several losses
    that which the leaf is searched on."""
    stages: dict[str, "Info"] = {}  # noqa: RUF012 (never mutated)
    """What each stage of a cycle did and cost, by its name, in their order."""
    aux: PyTree = None
    """What the loss returns besides its value, of the weights after a cycle on its first
    mini-batch; one forward pass that is not among the evaluations."""


def total(infos: Iterable[Info]) -> Info:
    """What several parts did and cost together; the loss is that after the last of them."""
    first, *others = infos
    found = first
    for info in others:
        found = Info(
            loss=info.loss,
            accepted=found.accepted + info.accepted,
            not_finite=found.not_finite + info.not_finite,
            visits=found.visits + info.visits,
            decisions=found.decisions + info.decisions,
            weight_updates=found.weight_updates + info.weight_updates,
            candidates=found.candidates + info.candidates,
            image_evaluations=found.image_evaluations + info.image_evaluations,
        )
    return found._replace(choices=None, losses=None)


def check_stage(stage: Any, name: str | None = None) -> None:
    """Refuse what is no stage.

    Args:
        stage: that a method was given.
        name: of its stage, where the method has but one.

    Raises:
        UserError: with what to pass.
    """
    remedy = "pass one of method.stages(key, state, batches)"
    if not isinstance(stage, Stage):
        raise UserError(f"stage is {kind_of(stage)}; {remedy}")
    if name is not None and stage.name != name:
        raise UserError(
            f"stage {stage.name!r} is none of this method, which has {name!r}; {remedy}"
        )


def weights_among(params: PyTree) -> PyTree:
    """Which leaves of the parameters hold weights, as a pytree of booleans."""
    return jax.tree.map(holds_weights, params)


@dataclass(frozen=True, kw_only=True)
class Method:
    """How to train, as pure functions.

    The key given to ``stages``, ``prepare``, ``advance`` and ``aux`` is the cycle's. The batches
    are a stack: a pytree of arrays [mini-batches, batch size, ...].
    """

    init: Callable[[Array, PyTree], PyTree]
    """``(key, params) -> state``, a pytree of arrays."""
    stages: Callable[[Array, PyTree, PyTree], list[Stage]]
    """``(key, state, batches)``: the parts of this cycle, in order."""
    prepare: Callable[[Array, PyTree, Stage, PyTree], PyTree]
    """``(key, state, stage, batches)``: what the visits of a stage share."""
    advance: Callable[[Array, PyTree, Stage, PyTree, int, int], tuple[PyTree, Info]]
    """``(key, state, stage, prepared, start, stop)``: visits ``start`` to ``stop - 1``. A stage in
    parts, from boundary to boundary, is the stage in one piece, bit for bit."""
    finish: Callable[[PyTree], PyTree] = lambda state: state
    """``(state)``: the state after the last stage of a cycle."""
    params: Callable[[PyTree], PyTree] = lambda state: state.params
    """``(state)``: the parameters in it."""
    trained: Callable[[PyTree], PyTree] = weights_among
    """``(params)``: a pytree of booleans, which leaves are trained."""
    aux: Callable[[Array, PyTree, PyTree], PyTree] | None = None
    """``(key, state, batches)``: of the parameters on the first mini-batch, what the loss returns
    besides its value; None if it returns nothing else."""
    mesh: Mesh | None = None
    """Devices that share the work; None for one."""
    compile: Callable[[Array, PyTree, Stage, PyTree], None] | None = None
    """``(key, state, stage, batches)``: compiles what a stage runs, and runs nothing, so that
    threads can compile the stages of a cycle side by side; None where one program runs them all."""


def check_method(method: Any) -> None:
    """Refuse what is no method.

    Raises:
        UserError: with what to pass.
    """
    if not isinstance(method, Method):
        raise UserError(
            f"method is {kind_of(method)}, not a Method; pass rso(loss_fn), or one of "
            "rso_jax.baselines"
        )


def run_stage(
    method: Method, key: Array, state: PyTree, stage: Stage, batches: PyTree
) -> tuple[PyTree, Info]:
    """All visits of one stage, ``(state, info)``.

    Args:
        method: by which to train.
        key: PRNG key of the cycle.
        state: from ``method.init`` or the stage before.
        stage: one of ``method.stages(key, state, batches)``.
        batches: stack of mini-batches [M, n, ...].

    Raises:
        UserError: an argument that is something else.
    """
    check_method(method)
    check_stage(stage)
    prepared = method.prepare(key, state, stage, batches)
    return method.advance(key, state, stage, prepared, 0, stage.visits)


def step(method: Method, key: Array, state: PyTree, batches: PyTree) -> tuple[PyTree, Info]:
    """One cycle by any method, ``(state, info)``.

    ::

        state = method.init(key, params)
        for cycle in range(5):
            state, info = step(method, jax.random.fold_in(key, cycle), state, batches)

    Args:
        method: by which to train: ``rso(loss_fn)``, or one of ``rso_jax.baselines``.
        key: PRNG key of this cycle.
        state: from ``method.init`` or the cycle before.
        batches: stack of mini-batches, a pytree of arrays [M, n, ...]; of arrays that all examples
            share too, where a search was told of them.

    Raises:
        UserError: an argument that is something else.
    """
    check_method(method)
    done: dict[str, Info] = {}
    for stage in method.stages(key, state, batches):
        state, done[stage.name] = run_stage(method, key, state, stage, batches)
    state = method.finish(state)
    aux = method.aux(key, state, batches) if method.aux else None
    return state, total(done.values())._replace(stages=done, aux=aux)


def count_trained(method: Method, params: PyTree) -> int:
    """How many scalars of the parameters a method trains."""
    arrays, trained = jax.tree.leaves(params), jax.tree.leaves(method.trained(params))
    return sum(int(np.size(a)) for a, is_one in zip(arrays, trained, strict=True) if is_one)
