"""What the pieces of a search must return, checked by tracing them before a sweep is compiled."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rso_jax.arguments import check_callable, check_type
from rso_jax.arrays import kind_of
from rso_jax.errors import UserError, check_name
from rso_jax.search.minibatches import MiniBatches
from rso_jax.stacks import stack_shape

PyTree = Any

MOST_PERTURBATIONS = 126
MOST_JOINT_STEPS = 127
"""``choices`` holds bytes."""


def returned_by(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Shape and type of what a piece returns.

    Args:
        what: name of the piece.
        function: the piece.
        *arguments: arrays or ``jax.ShapeDtypeStruct``.

    Raises:
        UserError: it fails, or returns what is no array.
    """
    try:
        return jax.eval_shape(function, *arguments)
    except UserError:
        raise
    except Exception as error:  # whatever a function of the user's raises
        reason = f"{type(error).__name__}: {str(error).strip() or 'no message'}".splitlines()[0]
        raise UserError(
            f"{what} cannot be traced by JAX ({reason}); it must be a function of JAX arrays that "
            "returns one"
        ) from error


def check_schedule(schedule: Callable[..., Any]) -> None:
    """Refuse a schedule that does not give one real number for a cycle.

    Raises:
        UserError: with what it returns.
    """
    found = returned_by("schedule", schedule, jax.ShapeDtypeStruct((), jnp.int32))
    real = _is_array(found) and jnp.issubdtype(found.dtype, jnp.number)
    if not real or found.shape or jnp.issubdtype(found.dtype, jnp.complexfloating):
        raise UserError(f"schedule returned {_said(found)} for a cycle; return one real number")


def check_proposal(proposal: Callable[..., Any], dtype: Any) -> int:
    """How many perturbations a proposal draws of a weight.

    Raises:
        UserError: it does not return an array [perturbations] of the weight's type.
    """
    key, weight = _key(), jax.ShapeDtypeStruct((), dtype)
    found = returned_by("proposal", proposal, key, weight, weight)
    if not _is_array(found) or len(found.shape) != 1 or found.dtype != dtype:
        raise UserError(
            f"proposal returned {_said(found)} for a weight of type {np.dtype(dtype)}; return its "
            "perturbations, an array [perturbations] of the weight's type"
        )
    if not 1 <= found.shape[0] <= MOST_PERTURBATIONS:
        raise UserError(
            f"proposal returned {found.shape[0]} perturbations of a weight; return between 1 and "
            f"{MOST_PERTURBATIONS}"
        )
    return int(found.shape[0])


def check_acceptance(acceptance: Callable[..., Any], candidates: int, dtype: Any) -> None:
    """Refuse an acceptance that does not pick one of its candidates.

    What an index is can be known only of values: a few are tried.

    Args:
        acceptance: the piece.
        candidates: how many it picks among.
        dtype: of their losses.

    Raises:
        UserError: it returns no integer scalar, or an index out of range.
    """
    try:
        _check_acceptance(acceptance, candidates, np.dtype(dtype))
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        _check_acceptance.__wrapped__(acceptance, candidates, np.dtype(dtype))


@cache
def _check_acceptance(acceptance: Callable[..., Any], candidates: int, dtype: Any) -> None:
    losses, cycle = jax.ShapeDtypeStruct((candidates,), dtype), jax.ShapeDtypeStruct((), jnp.int32)
    found = returned_by("acceptance", acceptance, _key(), losses, cycle)
    if not _is_array(found) or found.shape or not jnp.issubdtype(found.dtype, jnp.integer):
        raise UserError(
            f"acceptance returned {_said(found)}; return the index of the candidate to keep, an "
            "integer scalar"
        )
    rising = np.arange(1, candidates + 1, dtype=np.float32)
    one_lost = np.where(rising == 1, np.inf, rising)
    with jax.ensure_compile_time_eval():
        tried = jax.jit(acceptance)
        for values in (rising, rising[::-1], one_lost, np.full_like(rising, np.inf)):
            key, at = jax.random.key(0), jnp.zeros((), jnp.int32)
            index = int(tried(key, jnp.asarray(values, dtype), at))
            if not 0 <= index < candidates:
                raise UserError(
                    f"acceptance returned {index} of {candidates} candidates; return an index "
                    f"from 0, the incumbent, to {candidates - 1}"
                )


def check_minibatches(pieces: Any, stack: PyTree) -> PyTree:
    """Shapes and types of a stack of mini-batches as arranged for a sweep.

    Args:
        pieces: how the sweep draws its mini-batches.
        stack: pytree of ``jax.ShapeDtypeStruct`` [M, n, ...].

    Raises:
        UserError: ``arrange`` or ``select`` returns something else than examples of the stack.
    """
    check_type("minibatches", pieces, MiniBatches, "rso_jax.search.minibatches holds")
    check_callable("minibatches.arrange", pieces.arrange)
    check_name("minibatches.turn", pieces.turn, ("visit", "column", "none"))
    if (pieces.turn == "none") != (pieces.select is not None):
        raise UserError(
            f"minibatches has turn={pieces.turn!r} and select={kind_of(pieces.select)}; pass a "
            "function to select together with turn='none', and None otherwise"
        )
    arranged = returned_by("minibatches.arrange", pieces.arrange, _key(), stack)
    _check_examples("minibatches.arrange", arranged, stack, 2)
    _, size = stack_shape(arranged)
    if pieces.select is not None:
        selected = returned_by("minibatches.select", pieces.select, _key(), arranged)
        _check_examples("minibatches.select", selected, stack, 1)
        if {a.shape[0] for a in jax.tree.leaves(selected)} != {size}:
            raise UserError(f"minibatches.select must return mini-batches of {size} examples")
    return arranged


def _check_examples(what: str, found: PyTree, stack: PyTree, leading: int) -> None:
    """That these are arrays of the stack's structure, types and examples."""

    def examples(tree: PyTree, leading: int) -> Any:
        arrays, treedef = jax.tree.flatten(tree)
        return treedef, [(a.shape[leading:], a.dtype) for a in arrays]

    if examples(found, leading) != examples(stack, 2):
        axes = "[mini-batches, batch size, ...]" if leading == 2 else "[batch size, ...]"
        raise UserError(
            f"{what} returned {_said(found)} of {_said(stack)}; return the same arrays with axes "
            f"{axes}"
        )


def check_step(step: Callable[..., Any], tried: Any, losses: Any) -> int:
    """How many joint steps a block tries.

    Args:
        step: makes them.
        tried: shape and type of the values tried, [columns, weights, candidates].
        losses: likewise of their losses.

    Raises:
        UserError: it does not return values [joint steps, columns, weights].
    """
    found = returned_by("the step of a block", step, tried, losses)
    columns, weights = tried.shape[:2]
    if not _is_array(found) or found.shape[1:] != (columns, weights) or found.dtype != tried.dtype:
        raise UserError(
            f"the step of a block returned {_said(found)}; return values [joint steps, columns, "
            f"weights], here of shape (.., {columns}, {weights}) and {tried.dtype}"
        )
    if not 1 <= found.shape[0] <= MOST_JOINT_STEPS:
        raise UserError(
            f"the step of a block returned {found.shape[0]} joint steps; return between 1 and "
            f"{MOST_JOINT_STEPS}"
        )
    return int(found.shape[0])


def _key() -> Any:
    return jax.eval_shape(jax.random.key, 0)


def _is_array(found: Any) -> bool:
    return isinstance(found, jax.ShapeDtypeStruct)


def _said(found: Any) -> str:
    """An array by shape and type, anything else by its kind."""
    if _is_array(found):
        return f"an array of shape {found.shape} and type {found.dtype}"
    arrays = jax.tree.leaves(found)
    return f"{kind_of(found)} with arrays {', '.join(f'{a.shape} {a.dtype}' for a in arrays)}"
