"""A training method, as the loop sees it: cycles made of stages, stages made of visits.

A stage is what is compiled once and can be cut anywhere: the sweep of one leaf for a search,
an epoch of steps for a gradient method.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from rso_jax.search import Search
from rso_jax.trees import holds_weights, named_leaves

PyTree = Any


class Stage(NamedTuple):
    """One part of a cycle."""

    name: str
    cuts: np.ndarray
    """Visits before which the stage may be interrupted, ascending, both ends included."""

    @property
    def visits(self) -> int:
        """In all."""
        return int(self.cuts[-1])

    def cut_near(self, visit: int, wanted: int) -> int:
        """The first cut from ``visit + wanted`` on, or the end."""
        found = np.searchsorted(self.cuts, min(visit + wanted, self.visits))
        return int(self.cuts[found])


class Tally(NamedTuple):
    """What some visits did and cost."""

    loss: Array
    """On the mini-batch of the last visit: of a search after it, of a gradient step before it, of
    an evolution strategy the mean over the population."""
    accepted: Array
    """Proposed changes that were accepted; for a gradient method, all steps."""
    proposed: int
    """Changes proposed."""
    weight_updates: int
    """Weights visited: one for a visit of RSO, all of them for a gradient step."""
    image_evaluations: int
    """Forward passes of one example, or their equivalent."""
    not_finite: Array | int = 0
    """Of a search, candidates evaluated whose loss was NaN or infinite."""
    candidates: int = 0
    """Of a search, candidates evaluated."""


def count_weights(params: PyTree) -> int:
    """Trained scalars: the elements of all floating-point leaves."""
    return sum(a.size for a in named_leaves(params).values() if holds_weights(a))


class Method(NamedTuple):
    """How to train, as pure functions of an explicit state.

    The key given to ``stages``, ``prepare`` and ``advance`` is the cycle's; ``batches`` is a
    stack of mini-batches [M, n, ...].
    """

    init: Callable[[Array, PyTree], PyTree]
    """``(key, params) -> state``, a pytree of arrays."""
    stages: Callable[[Array, PyTree, PyTree], list[Stage]]
    """``(key, state, batches)``: the parts of this cycle, in order."""
    prepare: Callable[[Array, PyTree, Stage, PyTree], PyTree]
    """``(key, state, stage, batches)``: what the visits of a stage share."""
    advance: Callable[[Array, PyTree, Stage, PyTree, int, int], tuple[PyTree, Tally]]
    """``(key, state, stage, prepared, start, stop)``: visits ``start`` to ``stop - 1``."""
    finish_cycle: Callable[[PyTree], PyTree]
    """The state after the last stage of a cycle."""
    params: Callable[[PyTree], PyTree]
    """The weights in a state."""
    trained: Callable[[PyTree], int] = count_weights
    """``(params)``: how many of them are trained."""
    aux: Callable[[Array, PyTree, PyTree], PyTree] | None = None
    """``(key, state, batches)``: what the loss returns besides its value, of the weights after a
    cycle on its first mini-batch; None if it returns nothing else."""


def search_method(search: Search) -> Method:
    """A search as a training method: one stage for each leaf."""

    def stages(key: Array, state: PyTree, batches: PyTree) -> list[Stage]:
        return [Stage(*stage) for stage in search.stages(key, state, batches)]

    def advance(
        key: Array, state: PyTree, stage: Stage, prepared: PyTree, start: int, stop: int
    ) -> tuple[PyTree, Tally]:
        state, info = search.advance(key, state, stage, prepared, start, stop)
        return state, Tally(
            loss=info.loss,
            accepted=info.accepted,
            proposed=info.visits,
            weight_updates=info.visits,
            image_evaluations=info.image_evaluations,
            not_finite=info.not_finite,
            candidates=info.candidates,
        )

    def trained(params: PyTree) -> int:
        arrays, searched = jax.tree.leaves(params), jax.tree.leaves(search.trained(params))
        return sum(a.size for a, s in zip(arrays, searched, strict=True) if s)

    return Method(
        init=search.init,
        stages=stages,
        prepare=search.prepare,
        advance=advance,
        finish_cycle=search.finish,
        params=search.params,
        trained=trained,
        aux=search.aux,
    )
