"""A task: what is trained, and how it is judged; whichever method trains it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jax import Array

from rso_jax.arrays import kind_of
from rso_jax.errors import UserError

PyTree = Any


def _keep_nothing(params: PyTree) -> PyTree:
    del params
    return ()


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a loop needs to know of a problem.

    ::

        def batches(rng, cycle):
            rows = draw_minibatches(rng, len(x), 100)          # [mini-batches, 100]
            return {"x": x[rows], "y": y[rows]}

        def score(params, kept):
            return {"test_error": float(error(params, x_test, y_test))}

        task = Task(init=init, batches=batches, score=score, batch_size=lambda cycle: 100)

    Raises:
        UserError: a part that is no function, ``numbers`` or ``shown`` that is no tuple of names,
            or ``unit`` that is no word.
    """

    init: Callable[[Array], PyTree]
    """``(key)``: initial parameters."""
    batches: Callable[[np.random.Generator, int], PyTree]
    """``(rng, cycle)``: the stack of mini-batches of a cycle, counted from 0, a pytree of arrays
    [mini-batches, batch size, ...]. The generator is that cycle's own. Arrays of the host are
    divided among the devices of a mesh; arrays of JAX are taken as they lie. Arrays and numbers
    that all examples share, of any other shape, may be among them where the method was told:
    ``rso(..., shared=lambda path: path in names)``."""
    batch_size: Callable[[int], int]
    """``(cycle)``: examples in each of its mini-batches; the time left is worked out from it."""
    score: Callable[[PyTree, PyTree], Mapping[str, float]]
    """``(params, kept)``: any named numbers; they go into the metrics in this order."""
    keep: Callable[[PyTree], PyTree] = _keep_nothing
    """``(params)``: what is kept beside the parameters and scored with them, such as statistics of
    batch norm; a pytree of arrays."""
    numbers: tuple[str, ...] = ()
    """Names of what ``score`` returns. Without, it is called once before the first cycle, to see
    them."""
    shown: tuple[str, ...] = ()
    """Which of the numbers the console shows and the curve draws, the foremost first; by default
    all of them. One whose name ends in ``accuracy`` is a share, shown in percent."""
    unit: str = "examples"
    """What the console calls examples where it says how many are evaluated in a second."""

    def __post_init__(self) -> None:
        """Refuse parts of another kind."""
        for name in ("init", "batches", "batch_size", "score", "keep"):
            part = getattr(self, name)
            if not callable(part):
                remedy = ": lambda cycle: 100" if name == "batch_size" else ""
                raise UserError(f"{name} of a task is {kind_of(part)}; pass a function{remedy}")
        for name in ("numbers", "shown"):
            of = getattr(self, name)
            if not isinstance(of, tuple | list) or not all(isinstance(n, str) for n in of):
                raise UserError(f"{name} of a task is {of!r}; pass a tuple of names")
        if not isinstance(self.unit, str) or not self.unit.strip():
            raise UserError(f"unit of a task is {self.unit!r}; pass a word, as 'examples' is")


def in_words(name: str) -> str:
    """How the console and the curve speak of a number."""
    return name.replace("_", " ")


def is_share(name: str) -> bool:
    """Whether a number is shown in percent."""
    return name.endswith("accuracy")
