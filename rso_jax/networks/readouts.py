"""Readouts: which logits an evaluation takes of a network that has several.

A readout is given the logits of all layers by name, in the order of the network, its own last ones
at the end, and returns one array of their shape.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import jax
from jax import Array

from rso_jax.errors import UserError, whole_number

Readout = Callable[[Mapping[str, Array]], Array]


def last_layer(logits: Mapping[str, Array]) -> Array:
    """The network's own logits: the last of all."""
    return list(logits.values())[-1]


def last_head(logits: Mapping[str, Array]) -> Array:
    """The logits of the last head, before the network's own.

    Raises:
        UserError: a network without heads.
    """
    return _heads(logits)[-1]


@cache  # one function for each choice, as what is compiled for a network is kept by its readout
def add_log_probabilities(first: int = 1, *, own: bool = False) -> Readout:
    """The log-probabilities of heads, added up: their votes, each as sure as it is.

    The largest of the sums is the class. Read as logits they are surer than any of the heads, and
    cross-entropy is not that of a mean.

    Args:
        first: the first head that counts, from 1.
        own: whether the network's own logits count too.

    Raises:
        UserError: a number below 1; from the readout, one above the number of heads.
    """
    return partial(_add, whole_number("first", first, 1), own)


def _add(first: int, own: bool, logits: Mapping[str, Array]) -> Array:
    heads = _heads(logits)
    if first > len(heads):
        raise UserError(
            f"the first head that counts is number {first}, of {len(heads)} heads: "
            f"{', '.join(list(logits)[:-1])}"
        )
    counted = heads[first - 1 :] + [last_layer(logits)] * own
    total: Any = sum(jax.nn.log_softmax(one) for one in counted)
    return total


def _heads(logits: Mapping[str, Array]) -> list[Array]:
    heads = list(logits.values())[:-1]
    if not heads:
        raise UserError("the network has no heads, whose logits this readout takes")
    return heads
