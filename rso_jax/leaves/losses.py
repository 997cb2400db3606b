"""Several losses: which of them a leaf is searched on.

A loss function may return several losses in the network's order, such as one for each layer and
that of the network last. A leaf is searched on the first of them that it can change, or on one
that comes so many after it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.interpreters.partial_eval import dce_jaxpr

from rso_jax.arrays import is_array, kind_of
from rso_jax.errors import UserError
from rso_jax.leaves.dependence import inputs_of_results
from rso_jax.leaves.leaf import Leaf
from rso_jax.trees import spread_over

PyTree = Any
LossesFn = Callable[[PyTree, PyTree], Any]
"""``(params, batch)``: one loss, or several, as ``split_losses`` takes them."""
LookAhead = int | Callable[[str], int | str] | PyTree
"""How many losses after the first that a leaf can change the one that it is searched on comes, the
last where there are fewer; or the name of a loss. That as a function of the leaf's path, or as a
pytree of both, each for all leaves below its place."""


def split_losses(found: Any) -> dict[str, Array]:
    """The losses that a loss function returned, by name, in the network's order.

    Args:
        found: one loss, whose name is empty; or a tuple or list of losses, which are called "0",
            "1" and so on; or a mapping of them by name, in its own order. JAX sorts the names of a
            dictionary that passes through one of its transformations.

    Raises:
        UserError: no loss, a name that is no string, or one of several that is no array.
    """
    if not isinstance(found, tuple | list | Mapping):
        return {"": found}
    if isinstance(found, Mapping):
        losses = dict(found.items())
    else:
        losses = {str(i): loss for i, loss in enumerate(found)}
    if not losses:
        raise UserError(f"loss_fn returned {kind_of(found)} of no losses; return at least one")
    for name, loss in losses.items():
        if not isinstance(name, str):
            raise UserError(f"loss_fn returned a loss under the name {name!r}; name it by a string")
        if not is_array(loss):
            raise UserError(
                f"loss {name!r} of those that loss_fn returned is {kind_of(loss)}; each must be an "
                "array"
            )
    return losses


def all_losses(loss_fn: LossesFn) -> Callable[[PyTree, PyTree], tuple[Array, ...]]:
    """``(params, batch)``: all losses, in order."""
    return partial(_evaluate_all, loss_fn)


def loss_named(loss_fn: LossesFn, name: str) -> Callable[[PyTree, PyTree], Array]:
    """``(params, batch)``: one of the losses alone; what only others need is not computed.

    Args:
        loss_fn: returns one loss or several.
        name: as of ``split_losses``.
    """
    return partial(_evaluate_one, loss_fn, name)


def names_of_losses(loss_fn: LossesFn, params: PyTree, batch: PyTree) -> list[str]:
    """The names of all losses, in order; the one name of a single loss is empty."""
    return _trace(loss_fn, params, batch)[1]


def losses_of_leaves(
    loss_fn: LossesFn,
    params: PyTree,
    batch: PyTree,
    leaves: Sequence[Leaf],
    look_ahead: LookAhead = 0,
) -> dict[str, str]:
    """The name of the loss that each leaf is searched on, by the leaf's path.

    Args:
        loss_fn: returns one loss or several.
        params: arrays or ``jax.ShapeDtypeStruct``.
        batch: one mini-batch, likewise.
        leaves: those that are searched.
        look_ahead: which loss after the first that a leaf can change.

    Raises:
        UserError: a leaf that none of several losses depends on, a loss that there is not or that
            does not depend on the leaf, or a look-ahead that is something else.
    """
    traced, names = _trace(loss_fn, params, batch)
    inputs = inputs_of_results(traced)
    told = _spread(look_ahead, params, leaves)
    found = {}
    for leaf in leaves:
        pairs = zip(names, inputs, strict=True)
        # A single loss is that of all leaves, whether it depends on them or not.
        changed = [name for name, of in pairs if leaf.position in of or len(names) == 1]
        found[leaf.path] = _pick(leaf.path, names, changed, told[leaf.path])
    return found


def check_look_ahead(look_ahead: Any) -> None:
    """Refuse a look-ahead that is wrong by itself.

    Raises:
        UserError: with what it is.
    """
    if not callable(look_ahead):
        for one in jax.tree.leaves(look_ahead, is_leaf=lambda x: x is None):
            _check_one("look_ahead", one)


def _evaluate_all(loss_fn: LossesFn, params: PyTree, batch: PyTree) -> tuple[Array, ...]:
    return tuple(split_losses(loss_fn(params, batch)).values())


def _evaluate_one(loss_fn: LossesFn, name: str, params: PyTree, batch: PyTree) -> Array:
    if not name:
        return split_losses(loss_fn(params, batch))[name]
    only = _only(*_trace(loss_fn, params, batch), name)
    (value,) = jaxpr_as_fun(only)(*jax.tree.leaves((params, batch)))
    found: Array = value
    return found


def _only(traced: ClosedJaxpr, names: list[str], name: str) -> ClosedJaxpr:
    """The function that gives one loss alone."""
    wanted = [one == name for one in names]
    jaxpr, _ = dce_jaxpr(traced.jaxpr, wanted, instantiate=True)
    return ClosedJaxpr(jaxpr, traced.consts)


def _trace(loss_fn: LossesFn, params: PyTree, batch: PyTree) -> tuple[ClosedJaxpr, list[str]]:
    """All losses, traced, and their names; as a pytree a dictionary would lose its order."""
    names: list[str] = []

    def losses(params: PyTree, batch: PyTree) -> list[Array]:
        found = split_losses(loss_fn(params, batch))
        names[:] = found
        return list(found.values())

    return jax.make_jaxpr(losses)(params, batch), names


def _spread(look_ahead: LookAhead, params: PyTree, leaves: Sequence[Leaf]) -> dict[str, Any]:
    """What a look-ahead says of each leaf."""
    if callable(look_ahead):
        return {leaf.path: look_ahead(leaf.path) for leaf in leaves}
    wanted = "a number, a number or the name of a loss for each leaf"
    return spread_over("look_ahead", look_ahead, params, wanted)


def _pick(path: str, names: list[str], changed: list[str], told: Any) -> str:
    """The loss of a leaf, among those that it can change."""
    where = path or "the array"
    _check_one(f"look_ahead of {where}", told)
    if not changed:
        raise UserError(
            f"none of the losses {', '.join(names)} depends on {where}, so there is nothing to "
            "search it on; leave it out by searched, or return a loss that it changes"
        )
    if not isinstance(told, str):
        return changed[min(int(told), len(changed) - 1)]
    if told not in names:
        known = f"its losses are {', '.join(names)}" if names != [""] else "it returns one loss"
        raise UserError(f"look_ahead names the loss {told!r} for {where}, but of loss_fn {known}")
    if told not in changed:
        raise UserError(
            f"look_ahead names the loss {told!r} for {where}, which does not depend on it; those "
            f"that do are {', '.join(changed)}"
        )
    return told


def _check_one(what: str, value: Any) -> None:
    number = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not (isinstance(value, str) or (number and value >= 0)):
        raise UserError(
            f"{what} is {value!r}; it must be a whole number, 0 or more, or the name of a loss"
        )
