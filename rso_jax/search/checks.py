"""Checks of what a search is given, each before any work starts.

What every method checks alike is in ``rso_jax.arguments``, what pieces of a search return in
``contracts``.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh

from rso_jax.arguments import check_callable
from rso_jax.arrays import is_array, kind_of
from rso_jax.errors import UserError
from rso_jax.leaves import split_losses
from rso_jax.mesh import CANDIDATE, DATA

PyTree = Any


def check_loss(loss_fn: Any, keyed: bool) -> None:
    """Refuse what is no function, or one of other arguments, as far as its signature says.

    Raises:
        UserError: with the arguments it is called with.
    """
    check_callable("loss_fn", loss_fn)
    arguments = ["params", "batch", "key"] if keyed else ["params", "batch"]
    try:
        signature = inspect.signature(loss_fn)
    except (TypeError, ValueError):
        return  # it has none to look at
    try:
        signature.bind(*arguments)
    except TypeError as error:
        remedy = "" if keyed else "; for one that takes a key as third argument pass keyed=True"
        raise UserError(
            f"{_name(loss_fn)}{signature} cannot be called as loss_fn({', '.join(arguments)}): "
            f"{error}{remedy}"
        ) from None


def check_pair(loss_fn: Any, result: Any) -> tuple[Any, Any]:
    """What a loss returned, if it is a pair.

    Raises:
        UserError: it is none, although ``has_aux`` says so.
    """
    if not isinstance(result, tuple) or len(result) != 2:
        raise UserError(
            f"{_name(loss_fn)} returned {kind_of(result)}; with has_aux=True return (loss, aux)"
        )
    return result


def check_losses(loss_fn: Any, value: Any) -> dict[str, Array]:
    """The losses that a loss function returned, by name; see ``split_losses``.

    Raises:
        UserError: one that is not a floating-point scalar, with what it is.
    """
    several = isinstance(value, tuple | list | Mapping)
    entries = list(value.values() if isinstance(value, Mapping) else value) if several else [value]
    if not entries or not all(one is not None and is_array(one) for one in entries):
        of_pair = "; for (loss, aux) pass has_aux=True" if isinstance(value, tuple) else ""
        raise UserError(
            f"{_name(loss_fn)} returned a {type(value).__name__}; return the loss alone, one "
            f"floating-point scalar, or a tuple or mapping of several{of_pair}"
        )
    losses = split_losses(value)
    for name, loss in losses.items():
        _check_loss_value(f"loss {name!r} of {_name(loss_fn)}" if name else _name(loss_fn), loss)
    return losses


def _check_loss_value(name: str, value: Any) -> None:
    """Refuse a loss that is not one floating-point scalar.

    Raises:
        UserError: with what it is.
    """
    if jnp.shape(value) != ():
        raise UserError(
            f"{name} returned an array of shape {jnp.shape(value)}; return one scalar, for "
            "instance its mean over the mini-batch"
        )
    dtype = jnp.result_type(value)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise UserError(f"{name} returned {dtype}; return a floating-point scalar")


def _name(loss_fn: Any) -> str:
    return getattr(loss_fn, "__name__", "loss_fn")


def check_number(what: str, value: Any, least: float, below: float = math.inf) -> float:
    """A real number within bounds.

    Raises:
        UserError: it is not.
    """
    bounds = f"at least {least:g}" + ("" if below == math.inf else f" and below {below:g}")
    if not isinstance(value, Real) or isinstance(value, bool) or not least <= float(value) < below:
        raise UserError(f"{what} is {value!r}; it must be a number, {bounds}")
    return float(value)


def check_mesh(mesh: Any) -> None:
    """Refuse what is no mesh as ``rso_jax.mesh.make_mesh`` makes it.

    Raises:
        UserError: with what it is.
    """
    if mesh is None:
        return
    if not isinstance(mesh, Mesh):
        raise UserError(f"mesh is {kind_of(mesh)}; make one by rso_jax.mesh.make_mesh")
    if not {DATA, CANDIDATE} <= set(mesh.axis_names):
        raise UserError(
            f"the mesh has axes {', '.join(map(str, mesh.axis_names))}; it needs {DATA!r} and "
            f"{CANDIDATE!r}: make it by rso_jax.mesh.make_mesh"
        )
    if set(mesh.axis_types) != {AxisType.Auto}:
        raise UserError(
            "the mesh has axes of explicit or manual type; rso_jax.mesh.make_mesh makes one of "
            "the automatic type"
        )


def check_sigma(params: PyTree, sigma: PyTree) -> None:
    """Refuse a sigma that is negative or not finite, where its values are known already.

    Raises:
        UserError: names the leaf.
    """
    named = jax.tree_util.tree_leaves_with_path(sigma)
    for (path, scale), array in zip(named, jax.tree.leaves(params), strict=True):
        if isinstance(scale, jax.core.Tracer) or not jnp.issubdtype(array.dtype, jnp.floating):
            continue
        host = np.asarray(scale)
        if not np.all(np.isfinite(host) & (host >= 0)):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise UserError(
                f"sigma of {name or 'the array'} has a value that is negative or not finite; pass "
                "finite scales from 0 on, for initial weights that are finite"
            )


def check_order(ordered: Any, leaves: Sequence[Any]) -> list[Any]:
    """The leaves that an order puts in a sequence: some or all of those it was given.

    Raises:
        UserError: none, one of them twice, or something else.
    """
    if not isinstance(ordered, list | tuple):
        raise UserError(f"order returned {kind_of(ordered)}; return a list of the leaves it gets")
    known = ", ".join(leaf.path for leaf in leaves)
    for i, leaf in enumerate(ordered):
        if leaf not in leaves:
            name = getattr(leaf, "path", None) or kind_of(leaf)
            raise UserError(f"order returned {name}, which it was not given; there are: {known}")
        if leaf in ordered[:i]:
            raise UserError(f"order returned {leaf.path} twice; a cycle sweeps a leaf once")
    if not ordered:
        raise UserError(f"order returned no leaf to sweep; there are: {known}")
    return list(ordered)
