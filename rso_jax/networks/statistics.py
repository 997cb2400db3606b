"""Statistics to evaluate with, from what a call of the training mode does to a module's state."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import Literal

PyTree = Any
Update = Callable[[Sequence[Array]], list[Array]]
"""One call in training mode, from the leaves of a state to those after it."""

_TURNS = 3
"""Parts of a state that are settled one after the other: power iterations before the averages of
what they scale. What is left then is settled together."""


class _Average(NamedTuple):
    """A floating-point leaf taken for a running average, ``old -> m old + (1 - m) batch``."""

    batch: Array
    """The batch's own value, as far as it is known."""
    keep: Array
    """1 - m, of every element; 1 where the calls fit no m below 1."""
    fits: Array
    """Whether all elements fit."""
    untouched: Array
    """Whether the call left the whole leaf as it was."""


def calibrated(update: Callable[[PyTree], PyTree], initial: PyTree) -> PyTree:
    """The state that a module has once it has seen these examples.

    Running averages, ``old -> m old + (1 - m) batch`` with any momentum m < 1, become what endless
    calls on the same examples would make of them: the batch's own statistics. Two calls tell m
    and the batch's value, others whether it is such an average at all; what hangs from one node is
    decided together. Everything else (counters, integers, power iterations, keys) is as one call
    leaves it, and what a call does not change stays.

    Args:
        update: ``state -> state``, one call in training mode; structure and shapes are kept.
        initial: the state before.

    Returns:
        A state of the structure, shapes and types of ``initial``.
    """
    given, structure = jax.tree.flatten(initial)
    if not given:
        return initial
    nodes = [path[:-1] for path, _ in jax.tree_util.tree_leaves_with_path(initial)]

    def call(leaves: Sequence[Array]) -> list[Array]:
        return jax.tree.leaves(update(jax.tree.unflatten(structure, leaves)))

    # In a type of 8 or 16 bits, m itself would drown in rounding.
    state = [
        a.astype(jnp.promote_types(a.dtype, jnp.float32)) if _is_float(a) else a for a in given
    ]
    for leaves in _in_turn(call, state, nodes):
        state = _settled(call, state, leaves, nodes)
    typed = [a.astype(b.dtype) if _is_float(b) else a for a, b in zip(state, given, strict=True)]
    return jax.tree.unflatten(structure, typed)


def kept_in_shape(old: PyTree, new: PyTree) -> PyTree:
    """``new`` where it has the structure and shapes of ``old``, which is a dictionary by names.

    A collection that grows by every call (values that Flax's ``sow`` puts aside) stays as it was.
    """

    def shapes(tree: PyTree) -> list[Any]:
        return [(path, jnp.shape(a)) for path, a in jax.tree_util.tree_leaves_with_path(tree)]

    return {
        name: new[name] if name in new and shapes(new[name]) == shapes(tree) else tree
        for name, tree in old.items()
    }


def _in_turn(call: Update, state: list[Array], nodes: list[Any]) -> list[list[int]]:
    """Positions of the leaves, those first whose nodes depend on no other node of the state."""
    traced = jax.make_jaxpr(call)(state).jaxpr
    read = {var: {node} for var, node in zip(traced.invars, nodes, strict=True)}
    for eqn in traced.eqns:
        found = set().union(*(read.get(v, ()) for v in eqn.invars if not isinstance(v, Literal)))
        read.update(dict.fromkeys(eqn.outvars, found))
    needs: dict[Any, set[Any]] = {node: set() for node in nodes}
    for node, var in zip(nodes, traced.outvars, strict=True):
        needs[node] |= set() if isinstance(var, Literal) else read.get(var, set())
    left = set(nodes)
    turns: list[list[int]] = []
    while left:
        ready = {node for node in left if needs[node] & left <= {node}}
        if not ready or len(turns) == _TURNS - 1:
            ready = set(left)
        turns.append([i for i, node in enumerate(nodes) if node in ready])
        left -= ready
    return turns


def _settled(call: Update, state: list[Array], leaves: list[int], nodes: list[Any]) -> list[Array]:
    """The state with these leaves as their batch has them; the others are held."""

    def called(values: dict[int, Array]) -> list[Array]:
        return call([values.get(i, a) for i, a in enumerate(state)])

    once = called({})
    floats = [i for i in leaves if _is_float(state[i])]
    # As large as the values, for its digits.
    steps = {i: jnp.maximum(1, jnp.maximum(_size(state[i]), _size(once[i]))) for i in floats}
    beside = called({i: state[i] + steps[i] for i in floats})
    averages = {i: _average(state[i], once[i], (beside[i] - once[i]) / steps[i]) for i in floats}
    # Once more from the batch's value, for what the step cost in rounding; then from twice as far
    # as that is from 0: a running maximum stays wherever it is above, an average does not.
    again = called({i: average.batch for i, average in averages.items()})
    averages = {i: _refined(average, again[i]) for i, average in averages.items()}
    beyond = {i: _size(average.batch) for i, average in averages.items()}
    beyond = {i: jnp.where(size > 0, size, 1) for i, size in beyond.items()}
    again = called({i: average.batch + beyond[i] for i, average in averages.items()})
    sound: dict[Any, Array | bool] = {}
    for i, average in averages.items():
        fits = _is_sound(average, again[i], beyond[i])
        sound[nodes[i]] = sound.get(nodes[i], True) & fits
    settled = {
        i: jnp.where(sound[nodes[i]] & ~average.untouched, average.batch, once[i])
        for i, average in averages.items()
    }
    return [settled.get(i, once[i]) if i in leaves else a for i, a in enumerate(state)]


def _average(start: Array, once: Array, m: Array) -> _Average:
    keep = 1 - m
    fits = (keep > 32 * jnp.finfo(start.dtype).eps) & (keep < 2)
    keep = jnp.where(fits, keep, 1)
    batch = jnp.where(fits, (once - m * start) / keep, once)
    return _Average(batch, keep, jnp.all(fits), jnp.all(once == start))


def _refined(average: _Average, again: Array) -> _Average:
    """Corrected by a call that began at the batch's value, where an average stays."""
    return average._replace(batch=average.batch + (again - average.batch) / average.keep)


def _is_sound(average: _Average, again: Array, beyond: Array) -> Array:
    """Whether a call that began beyond the batch's value went back by the share it should."""
    expected = average.batch + beyond - average.keep * beyond
    off = _size((again - expected) / average.keep) / beyond
    rounding = 64 * jnp.finfo(average.batch.dtype).eps / jnp.min(average.keep, initial=1)
    return average.untouched | (average.fits & (off <= 1e-3 + rounding))


def _size(array: Array) -> Array:
    return jnp.max(jnp.abs(array), initial=0)


def _is_float(array: Array) -> bool:
    return jnp.issubdtype(array.dtype, jnp.floating)
