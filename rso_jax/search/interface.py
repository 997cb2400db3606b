"""What a search is: its state, what it tells, and its functions."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from jax import Array

from rso_jax.incremental import Note
from rso_jax.search.cost import SweepCost
from rso_jax.search.leaves import Leaf
from rso_jax.search.sweep import Prepared

PyTree = Any


class State(NamedTuple):
    """All that a search carries from cycle to cycle, besides the key."""

    params: PyTree
    """The incumbent."""
    sigma: PyTree
    """Scale of each leaf's perturbations before the schedule: a scalar, or one per weight; empty
    for ``he``, which the loss decides."""
    drift: PyTree
    """What each weight changed by when it was last decided, 0 before; of a leaf that is not
    searched a scalar."""
    cycle: Array
    """Cycles completed, integer scalar."""


class SweepInfo(NamedTuple):
    """What the visits of one leaf decided and cost."""

    choices: Array
    """Which candidate each weight was kept at, int8 of the leaf's shape: 0 for the incumbent,
    -1, -2, ... for the joint steps of a block."""
    losses: Array
    """Mini-batch loss of the candidate kept, of the leaf's shape."""
    accepted: Array
    """Number of visits that changed their weight."""
    not_finite: Array
    """Number of candidates evaluated whose loss was NaN or infinite."""
    loss: Array
    """Mini-batch loss after the last visit."""
    visits: int
    """Weights visited."""
    decisions: int
    """Made one after the other: a visit, or a block of them."""
    candidates: int
    """Candidates evaluated; the incumbent is one."""
    image_evaluations: int
    """Candidates evaluated times examples in their mini-batch."""


class CycleInfo(NamedTuple):
    """What one cycle decided and cost."""

    sweeps: dict[str, SweepInfo]
    """By the path of the leaf, in the order of the sweeps."""
    accepted: Array
    """Number of visits that changed their weight."""
    not_finite: Array
    """Number of candidates evaluated whose loss was NaN or infinite, which are never accepted."""
    loss: Array
    """Mini-batch loss after the last visit."""
    visits: int
    """Weights visited."""
    decisions: int
    """Made one after the other: a visit, or a block of them."""
    candidates: int
    """Candidates evaluated; the incumbent is one."""
    image_evaluations: int
    """Candidates evaluated times examples in their mini-batch."""
    aux: PyTree = None
    """What a loss with ``has_aux`` returned besides of the incumbent after the cycle, on the first
    mini-batch; one forward pass that is not among the evaluations."""


class InitFn(Protocol):
    """``init(key, params) -> state``."""

    def __call__(self, key: Array, params: PyTree) -> State:
        """Return the state before the first cycle."""
        ...


class StepFn(Protocol):
    """``step(key, state, batches) -> (state, info)``."""

    def __call__(self, key: Array, state: State, batches: PyTree) -> tuple[State, CycleInfo]:
        """One cycle: a sweep of every leaf. The key is the cycle's own."""
        ...


class SweepFn(Protocol):
    """``sweep(key, state, path, batches) -> (state, info)``."""

    def __call__(
        self, key: Array, state: State, path: str, batches: PyTree
    ) -> tuple[State, SweepInfo]:
        """One sweep: every weight of the leaf at ``path`` once. The key is the cycle's."""
        ...


class VisitFn(Protocol):
    """``visit(key, state, path, prepared, start, stop) -> (state, info)``."""

    def __call__(
        self, key: Array, state: State, path: str, prepared: Prepared, start: int, stop: int
    ) -> tuple[State, SweepInfo]:
        """Visits ``start`` to ``stop - 1`` of a sweep. The key is the cycle's.

        Cut where ``cuts`` says, a sweep in parts is the sweep in one piece, bit for bit.
        """
        ...


class CostFn(Protocol):
    """``cost(params, batches) -> costs``."""

    def __call__(
        self, params: PyTree, batches: PyTree, cycle: int = 0, key: Array | None = None
    ) -> list[SweepCost]:
        """Of a cycle, counted from 0. Arrays or ``jax.ShapeDtypeStruct``: nothing is computed.

        The key is the cycle's; it matters where ``order`` draws which leaves are swept.
        """
        ...


class Search(NamedTuple):
    """A search method. ``step`` is made of ``sweep``, and that of ``prepare`` and ``visit``.

    The batches are a stack: a pytree of arrays [mini-batches, batch size, ...], and of those that
    all examples share, where ``rso`` was told of them.
    """

    init: InitFn
    step: StepFn
    sweep: SweepFn
    order: Callable[[Array, State, PyTree], list[Leaf]]
    """``(key, state, batches)``: the leaves in the order in which that cycle sweeps them."""
    prepare: Callable[[Array, State, str, PyTree], Prepared]
    """``(key, state, path, batches)``: what the visits of that leaf's sweep share."""
    visit: VisitFn
    cuts: Callable[[State, Leaf], np.ndarray]
    """``(state, leaf)``: visits before which this cycle's sweep of a leaf may be cut,
    ascending, both ends included. Blocks may not be cut elsewhere."""
    cost: CostFn
    """What the sweep of every leaf that the cycle sweeps will cost, in the parameters' order."""
    why_dense: Callable[[PyTree, PyTree], dict[str, list[Note]]]
    """``(params, batches)``: by path, the operations of the loss from which on a change of a column
    can be anywhere in an array, with the lines of the user's code. Nothing is computed."""
    searched: Callable[[PyTree], PyTree]
    """``(params)``: a pytree of booleans, which leaves are searched."""
    aux: Callable[[Array, State, PyTree], PyTree] | None
    """``(key, state, batches)``: of the incumbent on the first mini-batch, what the loss returns
    besides its value, as in ``CycleInfo``. The key is the cycle's. None without ``has_aux``."""
