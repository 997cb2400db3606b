"""What a search is besides a method: its state, and what it tells of its costs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from jax import Array

from rso_jax.incremental import Note
from rso_jax.method import Method
from rso_jax.search.cost import SweepCost

PyTree = Any


class State(NamedTuple):
    """All that a search carries from cycle to cycle, besides the key."""

    params: PyTree
    """The incumbent."""
    sigma: PyTree
    """Scale of each leaf's perturbations before the schedule: a scalar, or one per weight; empty
    for ``he``, which the loss decides."""
    cycle: Array
    """Cycles completed, integer scalar."""


class CostFn(Protocol):
    """``cost(params, batches) -> costs``."""

    def __call__(
        self, params: PyTree, batches: PyTree, cycle: int = 0, key: Array | None = None
    ) -> list[SweepCost]:
        """Of a cycle, counted from 0. Arrays or ``jax.ShapeDtypeStruct``: nothing is computed.

        The key is the cycle's; it matters where ``order`` draws which leaves are swept.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Search(Method):
    """A search as a method: a stage for each leaf, a visit for each of its weights.

    Its batches may hold arrays that all examples share, where ``rso`` was told of them.
    """

    cost: CostFn
    """What the sweep of every leaf that a cycle sweeps will cost, in the parameters' order."""
    why_dense: Callable[[PyTree, PyTree], dict[str, list[Note]]]
    """``(params, batches)``: by path, the operations of the loss from which on a change of a column
    can be anywhere in an array, with the lines of the user's code. Nothing is computed."""
