"""What ``train`` is given, checked before any work starts."""

import operator
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from rso_jax.data import Dataset
from rso_jax.data.dataset import check
from rso_jax.errors import UserError
from rso_jax.networks.functional import Network
from rso_jax.search import Search
from rso_jax.training.method import Method

PyTree = Any


def check_parts(method: Any, network: Any, data: Any, mesh: Any) -> None:
    """Refuse parts of another kind, and data that no network can be trained on.

    Raises:
        UserError: which part, and what it should be; or see ``rso_jax.data.dataset.check``.
    """
    if isinstance(method, Search):
        raise UserError("method is a search; pass search_method(search)")
    _check_kind("method", method, Method, "search_method(rso(loss_fn))")
    _check_kind("network", network, Network, "linen_network(module)")
    _check_kind("data", data, Dataset, "rso_jax.data.load(name)")
    if mesh is not None:
        _check_kind("mesh", mesh, Mesh, "rso_jax.mesh.make_mesh()")
    check(data)


def whole_number(name: str, value: Any, least: int) -> int:
    """The value as an int.

    Raises:
        UserError: it is no whole number, or too small.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise UserError(f"{name} is {value!r}; it must be a whole number")
    if number < least:
        raise UserError(f"{name} is {number}; it must be at least {least}")
    return number


def batch_sizes(batch_size: Any, cycles: int, examples: int) -> Callable[[int], int]:
    """The batch size as a function of the cycle, checked for all of them.

    Args:
        batch_size: a number, or a function of the cycle.
        cycles: of the run.
        examples: in the training data.

    Raises:
        UserError: a size that is no whole number, below 1, or more than there are examples.
    """
    given = batch_size if callable(batch_size) else lambda cycle: batch_size

    def size_of(cycle: int) -> int:
        where = f"batch_size of cycle {cycle}" if callable(batch_size) else "batch_size"
        size = whole_number(where, given(cycle), 1)
        if size > examples:
            raise UserError(
                f"{where} is {size} but there are {examples} training examples; choose one from "
                f"1 to {examples}"
            )
        return size

    for cycle in range(cycles if callable(batch_size) else 1):
        size_of(cycle)
    return size_of


def check_logits(network: Network, params: PyTree, data: Dataset, batch_size: int) -> None:
    """Refuse a network whose logits are not those of the data's classes.

    Raises:
        UserError: their shape, and which it should be.
    """
    images = jax.ShapeDtypeStruct((batch_size, *data.x_train.shape[1:]), data.x_train.dtype)
    logits = jax.eval_shape(network.logits, params, images)
    found: tuple[int, ...] = getattr(logits, "shape", ())
    if len(found) != 2 or found[0] != batch_size or found[1] < data.classes:
        raise UserError(
            f"the network gives logits of shape {found} for {batch_size} images; {data.name} has "
            f"{data.classes} classes, so they must be [{batch_size}, {data.classes}]"
        )


def _check_kind(name: str, value: Any, kind: type, example: str) -> None:
    if not isinstance(value, kind):
        raise UserError(
            f"{name} is a {type(value).__name__}, not a {kind.__name__}; pass {example}, for "
            "instance"
        )
