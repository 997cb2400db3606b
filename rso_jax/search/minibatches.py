"""Mini-batches: which examples score the candidates of a visit.

Examples come as a stack, a pytree of arrays [mini-batches, batch size, ...]. ``arrange`` is
applied to it once before each sweep, ``select`` picks the mini-batch of one visit.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.errors import UserError

PyTree = Any


class MiniBatches(NamedTuple):
    """How a sweep draws its mini-batches."""

    arrange: Callable[[Array, PyTree], PyTree]
    """``(key, stack) -> arranged``, once per sweep; both of shape [M, n, ...]."""
    select: Callable[[Array, PyTree, Array], PyTree]
    """``(key, arranged, visit) -> mini-batch`` of shape [n, ...]."""
    in_turn: bool
    """Whether visit v takes mini-batch v modulo M of the stack, so that work on one can be kept."""


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
        raise UserError(
            "every array of batches needs the same two leading axes [mini-batches, batch size, "
            f"...]; got {listed} (for one mini-batch add an axis: x[None])"
        )
    minibatches, size = next(iter(shapes.values()))[:2]
    if minibatches < 1 or size < 1:
        raise UserError(f"batches holds {minibatches} mini-batches of {size} examples: none to use")
    return minibatches, size


def _flatten(stack: PyTree) -> PyTree:
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), stack)


def _reshuffle(key: Array, stack: PyTree) -> PyTree:
    minibatches, size = stack_shape(stack)
    if minibatches == 1:
        return stack  # the same set of examples in any order
    shuffled = jax.random.permutation(key, minibatches * size)
    return jax.tree.map(lambda a, flat: flat[shuffled].reshape(a.shape), stack, _flatten(stack))


def _next(key: Array, stack: PyTree, visit: Array) -> PyTree:
    del key
    minibatches, _ = stack_shape(stack)
    return jax.tree.map(lambda a: a[visit % minibatches], stack)


def _draw(key: Array, stack: PyTree, visit: Array) -> PyTree:
    del visit
    minibatches, size = stack_shape(stack)
    if minibatches == 1:
        return jax.tree.map(lambda a: a[0], stack)
    drawn = jax.random.choice(key, minibatches * size, (size,), replace=False)
    return jax.tree.map(lambda flat: flat[drawn], _flatten(stack))


cycled = MiniBatches(arrange=_reshuffle, select=_next, in_turn=True)
"""The authors' script: reshuffle and cut once per sweep, then the next one for every visit."""

fresh = MiniBatches(arrange=lambda key, stack: stack, select=_draw, in_turn=False)
"""The paper's Algorithm 1: for every visit, draw n of the M n examples without replacement."""
