"""Mini-batches, and stacks of them: pytrees of arrays [mini-batches, batch size, ...]."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rso_jax.arrays import check_arrays, is_array, kind_of, struct_of
from rso_jax.errors import UserError

PyTree = Any
Traced = TypeVar("Traced")
LossOfBatch = Callable[[PyTree, PyTree], Array]
"""``(params, batch)``."""


def check_stack(what: str, stack: PyTree) -> None:
    """Refuse a loader, a generator, or whatever else is no pytree of arrays.

    Args:
        what: what messages call it.
        stack: of mini-batches.

    Raises:
        UserError: with what to pass.
    """
    # JAX itself will take no iterator for a leaf.
    for leaf in jax.tree.leaves(stack, is_leaf=lambda node: isinstance(node, Iterator)):
        is_loader = isinstance(leaf, Iterable) and not isinstance(leaf, str | bytes | np.ndarray)
        if is_loader and not is_array(leaf):
            raise UserError(
                f"{what} is {kind_of(leaf)}, to be gone through; pass arrays [mini-batches, batch "
                "size, ...]: rso_jax.data.stacks_from(loader) makes them, in every cycle"
            )
    check_arrays(what, stack)


def stack_shape(stack: PyTree) -> tuple[int, int]:
    """The number of mini-batches M and their size n.

    Raises:
        UserError: arrays without these two axes, or which disagree on them.
    """
    shapes = {path: jnp.shape(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(stack)}
    if not shapes:
        raise UserError("batches holds no array; pass arrays [mini-batches, batch size, ...]")
    if (
        any(len(shape) < 2 for shape in shapes.values())
        or len({shape[:2] for shape in shapes.values()}) != 1
    ):
        listed = ", ".join(f"{jax.tree_util.keystr(p) or 'array'} {s}" for p, s in shapes.items())
        remedy = "for one mini-batch add an axis: x[None]"
        if isinstance(stack, list):
            remedy += "; a list of mini-batches is stacked by rso_jax.data.stacks_from"
        raise UserError(
            "every array of batches needs the same two leading axes [mini-batches, batch size, "
            f"...]; got {listed} ({remedy}; of arrays that all examples share a search is told: "
            "rso(..., shared=...))"
        )
    minibatches, size = next(iter(shapes.values()))[:2]
    if minibatches < 1 or size < 1:
        raise UserError(f"batches holds {minibatches} mini-batches of {size} examples: none to use")
    return minibatches, size


def count_examples(batch: PyTree) -> int:
    """The size of a mini-batch: the first axis of all of its arrays.

    Raises:
        UserError: arrays that have none, or disagree.
    """
    sizes = {jnp.shape(a)[:1] for a in jax.tree.leaves(batch)}
    if len(sizes) != 1 or sizes == {()}:
        raise UserError(
            "every array of the mini-batch needs the same first axis, of examples; got "
            f"{', '.join(str(jnp.shape(a)) for a in jax.tree.leaves(batch)) or 'no array'}"
        )
    ((size,),) = sizes
    return int(size)


def one_of_stack(stack: PyTree) -> PyTree:
    """Shapes and types of an entry of stacks [M, ...]."""

    def one(array: Any) -> jax.ShapeDtypeStruct:
        known = struct_of(array)
        return jax.ShapeDtypeStruct(known.shape[1:], known.dtype, weak_type=known.weak_type)

    return jax.tree.map(one, stack)


def with_twice_the_examples(batch: PyTree) -> PyTree:
    """Shapes and types of a mini-batch of twice the size."""

    def twice(array: Any) -> jax.ShapeDtypeStruct:
        known = struct_of(array)
        shape = (2 * known.shape[0], *known.shape[1:])
        return jax.ShapeDtypeStruct(shape, known.dtype, weak_type=known.weak_type)

    return jax.tree.map(twice, batch)


def traced_twice(trace: Callable[[PyTree], Traced], batch: PyTree) -> Traced | None:
    """What a trace gives for a mini-batch of twice the size; None where what is traced takes none.

    Args:
        trace: ``(mini-batch)``, shapes and types of one.
        batch: a mini-batch, or shapes and types of one.
    """
    try:
        return trace(with_twice_the_examples(batch))
    except Exception:  # whatever a function raises that was made for one size
        return None


def either(loss: LossOfBatch, other: LossOfBatch, batch: PyTree) -> LossOfBatch:
    """A loss for mini-batches of these shapes, and another one for all others."""
    shapes = [a.shape for a in jax.tree.leaves(batch)]

    def evaluate(params: PyTree, given: PyTree) -> Array:
        same = [a.shape for a in jax.tree.leaves(given)] == shapes
        return (loss if same else other)(params, given)

    return evaluate
