"""Mini-batches: which examples score the candidates of a visit.

Examples come as a stack, a pytree of arrays [mini-batches, batch size, ...]. ``arrange`` is
applied to it once before each sweep, ``select`` picks the mini-batch of one visit. Where visits
follow each other on one mini-batch and no weight decay changes the incumbent between them, its
loss is known from the visit before and not evaluated again.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
from jax import Array

from rso_jax.stacks import stack_shape

PyTree = Any


class MiniBatches(NamedTuple):
    """How a sweep draws its mini-batches."""

    arrange: Callable[[Array, PyTree], PyTree]
    """``(key, stack) -> arranged``, once per sweep: from [M, n, ...] to [M or fewer, n, ...]."""
    turn: Literal["visit", "column", "none"]
    """Whether visit v, or every visit of column v, takes mini-batch v modulo M of the stack, so
    that work on one can be kept; or whether ``select`` draws it."""
    select: Callable[[Array, PyTree], PyTree] | None = None
    """``(key, arranged) -> mini-batch`` of shape [n, ...], for a visit out of turn."""
    one_for_a_cycle: bool = False
    """Whether all sweeps of a cycle are arranged with one key."""

    def in_a_column(self, stacked: int) -> int:
        """How many of the stacked mini-batches the visits of one column take in turn."""
        return 1 if self.turn == "column" else stacked


def _flatten(stack: PyTree) -> PyTree:
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), stack)


def _reshuffle(key: Array, stack: PyTree) -> PyTree:
    minibatches, size = stack_shape(stack)
    if minibatches == 1:
        return stack  # the same set of examples in any order
    shuffled = jax.random.permutation(key, minibatches * size)
    return jax.tree.map(lambda a, flat: flat[shuffled].reshape(a.shape), stack, _flatten(stack))


def _first(key: Array, stack: PyTree) -> PyTree:
    """The first mini-batch of the stack reshuffled, without gathering the others."""
    minibatches, size = stack_shape(stack)
    if minibatches == 1:
        return stack
    chosen = jax.random.permutation(key, minibatches * size)[:size]
    return jax.tree.map(lambda flat: flat[chosen][None], _flatten(stack))


def _draw(key: Array, stack: PyTree) -> PyTree:
    minibatches, size = stack_shape(stack)
    if minibatches == 1:
        return jax.tree.map(lambda a: a[0], stack)
    drawn = jax.random.choice(key, minibatches * size, (size,), replace=False)
    return jax.tree.map(lambda flat: flat[drawn], _flatten(stack))


cycled = MiniBatches(_reshuffle, "visit")
"""The authors' script: reshuffle and cut once per sweep, then the next one for every visit."""

per_column = MiniBatches(_reshuffle, "column")
"""Reshuffle and cut once per sweep, then the next one for every column."""

per_leaf = MiniBatches(_first, "visit")
"""One mini-batch for a whole sweep."""

per_cycle = MiniBatches(_first, "visit", one_for_a_cycle=True)
"""One mini-batch for a whole cycle."""

fresh = MiniBatches(lambda key, stack: stack, "none", _draw)
"""The paper's Algorithm 1: for every visit, draw n of the M n examples without replacement."""
