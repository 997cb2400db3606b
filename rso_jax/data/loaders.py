"""Mini-batches from a loader: any iterable of pytrees, made into the stacks that methods take.

A PyTorch ``DataLoader``, a Grain or tf.data pipeline, a generator function: what they have in
common is that one can go through them, mini-batch by mini-batch.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from rso_jax.arrays import kind_of
from rso_jax.errors import UserError, whole_number

PyTree = Any
MakeLoader = Callable[[np.random.Generator, int], Iterable[PyTree]]
"""``(rng, cycle)``: what to go through in a cycle, counted from 0."""


def stacks_from(
    loader: Iterable[PyTree] | MakeLoader,
    *,
    batches_per_cycle: int | None = None,
    convert: Callable[[PyTree], PyTree] = lambda batch: batch,
) -> Callable[[np.random.Generator, int], PyTree]:
    """``batches`` of a task: each cycle goes through a loader and stacks what it gives.

    ::

        Task(batches=stacks_from(DataLoader(...), convert=to_dict), ...)

    Args:
        loader: what can be gone through anew in every cycle: a list, a ``DataLoader``; or a
            function ``(rng, cycle)`` that makes such a thing. Only with the latter, drawing from
            that generator alone, does a run that is resumed see the mini-batches that it would
            have seen.
        batches_per_cycle: mini-batches of a cycle; all that the loader gives, if not given.
        convert: what a mini-batch is made into first, a pytree of arrays [n, ...]: the labels and
            images of a tuple by name, say.

    Returns:
        ``(rng, cycle)``: arrays of NumPy [mini-batches, n, ...]. A last mini-batch that is smaller
        than the first is left out.

    Raises:
        UserError: a loader that can be gone through only once or not at all; from what is
            returned, fewer mini-batches than asked for, or mini-batches that are not alike.
    """
    if isinstance(loader, Iterator):
        raise UserError(
            "loader can be gone through only once, in the first cycle; pass a function (rng, "
            "cycle) that makes one"
        )
    if not callable(loader) and not isinstance(loader, Iterable):
        raise UserError(
            f"loader is {kind_of(loader)}; pass an iterable of mini-batches, or a function (rng, "
            "cycle) that makes one"
        )
    if batches_per_cycle is not None:
        whole_number("batches_per_cycle", batches_per_cycle, 1)

    def batches(rng: np.random.Generator, cycle: int) -> PyTree:
        # What is both, as a class with a call, is gone through.
        given = loader if isinstance(loader, Iterable) else loader(rng, cycle)
        taken = itertools.islice(given, batches_per_cycle)
        found = [jax.tree.map(np.asarray, convert(batch)) for batch in taken]
        if found and len(found) > 1 and _size(found[-1]) < _size(found[0]):
            found.pop()
        if not found or len(found) < (batches_per_cycle or 1):
            raise UserError(
                f"the loader gave {len(found)} mini-batches of one size in cycle {cycle}, of "
                f"{batches_per_cycle or 'at least 1'}"
            )
        return _stack(found)

    return batches


def _size(batch: PyTree) -> int:
    """Examples in a mini-batch."""
    sizes = [len(a) if np.ndim(a) else 0 for a in jax.tree.leaves(batch)]
    return min(sizes, default=0)


def _stack(found: list[PyTree]) -> PyTree:
    """Mini-batches on a first axis.

    Raises:
        UserError: they are not alike.
    """

    def shapes(batch: PyTree) -> Any:
        arrays, structure = jax.tree.flatten(batch)
        return structure, [(a.shape, a.dtype) for a in arrays]

    for number, batch in enumerate(found):
        if shapes(batch) != shapes(found[0]):
            raise UserError(
                f"the loader's mini-batch {number} is not like its first: "
                f"{_say(batch)}, not {_say(found[0])}"
            )
    return jax.tree.map(lambda *arrays: np.stack(arrays), *found)


def _say(batch: PyTree) -> str:
    return ", ".join(f"{a.dtype} {a.shape}" for a in jax.tree.leaves(batch)) or "no array"
