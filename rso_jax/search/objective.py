"""The loss as the search sees it: of all that it takes besides examples, and of examples.

A user's loss may take a key, return something besides its value, and have arrays among its batches
that all examples share. It may return one loss or several. Inside the search it is always
``losses(variables, examples)``, scalars by name.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import Array
from jax.extend.core import jaxpr_as_fun

from rso_jax.arrays import check_arrays
from rso_jax.leaves import split_losses
from rso_jax.search.checks import check_losses, check_pair
from rso_jax.trees import choose

PyTree = Any
UserLoss = Callable[..., Any]


class Variables(NamedTuple):
    """What a loss takes besides the examples of a mini-batch; its parameters come first."""

    params: PyTree
    shared: PyTree = ()
    """Arrays of the batches that all examples share; None in place of the others."""
    key: Any = ()
    """PRNG key of the visit, if the loss takes one."""


class Objective(NamedTuple):
    """A user's loss, taken apart."""

    losses: Callable[[Variables, PyTree], dict[str, Array]]
    """``(variables, examples)``: its losses by name, as of ``split_losses``."""
    aux: Callable[[Variables, PyTree], PyTree] | None
    """Likewise what it returns besides, if it does."""


def take_apart(loss_fn: UserLoss, *, has_aux: bool, keyed: bool) -> Objective:
    """Take a loss apart.

    Args:
        loss_fn: ``loss_fn(params, batch)`` or ``loss_fn(params, batch, key)``.
        has_aux: it returns ``(loss, aux)``, or ``(losses, aux)``.
        keyed: it takes a key.

    Returns:
        Functions that raise a ``UserError``, when traced, of a loss that returns anything else.
    """

    def parts(variables: Variables, examples: PyTree) -> tuple[dict[str, Array], PyTree]:
        more = (variables.key,) if keyed else ()
        result = loss_fn(variables.params, join(examples, variables.shared), *more)
        value, aux = check_pair(loss_fn, result) if has_aux else (result, ())
        return check_losses(loss_fn, value), aux

    def losses(variables: Variables, examples: PyTree) -> dict[str, Array]:
        return parts(variables, examples)[0]

    def aux(variables: Variables, examples: PyTree) -> PyTree:
        found = parts(variables, examples)[1]
        check_arrays("aux", found)
        return found

    return Objective(losses, aux if has_aux else None)


def trace_once(
    losses: Callable[[PyTree, PyTree], Any], variables: PyTree, examples: PyTree
) -> Callable[[PyTree, PyTree], dict[str, Array]]:
    """The losses by name as they were traced once, for arguments of these shapes and types.

    However an argument was computed, it is taken for what it was then: a weak type that it lost
    on the way does not change the loss.
    """
    names: list[str] = []

    def in_order(variables: PyTree, examples: PyTree) -> list[Array]:
        found = split_losses(losses(variables, examples))
        names[:] = found
        return list(found.values())

    run = jaxpr_as_fun(jax.make_jaxpr(in_order)(variables, examples))

    def evaluate(variables: PyTree, examples: PyTree) -> dict[str, Array]:
        return dict(zip(names, run(*jax.tree.leaves((variables, examples))), strict=True))

    return evaluate


def part(batches: PyTree, shared: Callable[[str], bool] | PyTree | None) -> tuple[PyTree, PyTree]:
    """What belongs to examples and what they share, each with None in place of the other.

    Args:
        batches: stacks [mini-batches, batch size, ...], and the shared arrays among them.
        shared: which are, by path or as a pytree of booleans; none, if None.
    """
    if shared is None:
        return batches, ()
    arrays, treedef = jax.tree.flatten(batches)
    is_shared = choose("shared", shared, batches)
    examples = [None if s else a for a, s in zip(arrays, is_shared, strict=True)]
    others = [a if s else None for a, s in zip(arrays, is_shared, strict=True)]
    return jax.tree.unflatten(treedef, examples), jax.tree.unflatten(treedef, others)


def join(examples: PyTree, shared: PyTree) -> PyTree:
    """The batch as the user's loss takes it, from both parts."""
    if shared == ():
        return examples
    return jax.tree.map(
        lambda a, b: b if a is None else a, examples, shared, is_leaf=lambda x: x is None
    )
