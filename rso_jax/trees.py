"""Pytrees: their leaves by path, which of them are meant, and which hold weights."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rso_jax.errors import UserError

PyTree = Any


def path_name(path: tuple[Any, ...]) -> str:
    """Keys of a JAX key path joined by ``/``."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def named_leaves(tree: PyTree) -> dict[str, Any]:
    """The leaves of a pytree by path, in flattening order.

    Raises:
        UserError: two leaves whose keys spell the same path.
    """
    named: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = path_name(path)
        if name in named:
            raise UserError(f"two arrays are both named {name!r}; rename one of the keys")
        named[name] = leaf
    return named


def holds_weights(array: Any) -> bool:
    """Whether a leaf holds weights: real floating point, and not empty."""
    return jnp.issubdtype(jnp.result_type(array), jnp.floating) and math.prod(np.shape(array)) > 0


def choose(what: str, which: Callable[[str], bool] | PyTree | None, tree: PyTree) -> list[bool]:
    """Which leaves of a pytree are meant, in flattening order.

    Args:
        what: name of the setting, for messages.
        which: a predicate on paths (``"conv1/kernel"``), or a pytree of booleans, each for all
            leaves below its place; all leaves, if None.
        tree: the pytree.

    Raises:
        UserError: another structure, or values that are not booleans.
    """
    named = named_leaves(tree)
    if which is None:
        return [True] * len(named)
    if callable(which):
        answers = {path: which(path) for path in named}
    else:
        answers = spread_over(what, which, tree, "a boolean for each leaf")
    for path, answer in answers.items():
        if not isinstance(answer, bool | np.bool_):
            raise UserError(f"{what} says {answer!r} of {path or 'the array'}; say True or False")
    return [bool(answer) for answer in answers.values()]


def spread_over(what: str, given: PyTree, tree: PyTree, wanted: str) -> dict[str, Any]:
    """What a setting says of every leaf, by path.

    Args:
        what: name of the setting, for messages.
        given: a pytree whose every leaf is for all leaves below its place.
        tree: the pytree whose leaves these are.
        wanted: what to pass, for messages.

    Raises:
        UserError: another structure.
    """
    named = named_leaves(tree)
    try:
        each = jax.tree.leaves(jax.tree.broadcast(given, tree))
    except ValueError:
        raise UserError(
            f"{what} has the structure {jax.tree.structure(given)}, which does not fit "
            f"{jax.tree.structure(tree)}; pass {wanted}, or a function of its path (paths are "
            f"{', '.join(named)})"
        ) from None
    return dict(zip(named, each, strict=True))
