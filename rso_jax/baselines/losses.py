"""Several losses as one: what a baseline lowers where layers have losses of their own."""

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

from jax import Array

from rso_jax.leaves import split_losses

PyTree = Any


def list_losses(found: Any) -> list[Array]:
    """What a loss function returns, one loss or a collection of them, in its order."""
    return list(split_losses(found).values())


def sum_losses(loss_fn: Callable[[PyTree, PyTree], Any]) -> Callable[[PyTree, PyTree], Array]:
    """The sum of all losses as the loss."""

    def total(params: PyTree, batch: PyTree) -> Array:
        found: Array = reduce(operator.add, list_losses(loss_fn(params, batch)))
        return found

    return total
