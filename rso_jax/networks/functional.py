"""Networks as pure functions: the boundary between modules with state and everything else.

A search sees a function of parameters and inputs alone. State that a module keeps besides
(statistics of batch norm, counters, the carry of a recurrent cell) is the same before every call,
and what a call does to it is dropped; only ``calibrate`` hands it on, to ``evaluate``.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jax import Array

from rso_jax.networks.losses import cross_entropy

PyTree = Any
LossOfLogits = Callable[[Array, Array], Array]


class Network(NamedTuple):
    """A classifier as pure functions of inputs [examples, ...].

    Logits are [examples, classes], or [examples, tokens, classes] where tokens are classified.
    """

    init: Callable[[Array, Array], PyTree]
    """``(key, inputs) -> params``."""
    logits: Callable[[PyTree, Array], Array]
    """``(params, inputs) -> logits`` while searching: batch norm, if the module so decides, by
    the statistics of these inputs."""
    calibrate: Callable[[PyTree, Array], PyTree]
    """``(params, inputs) -> statistics``: the module's state after these inputs; pass training
    inputs."""
    evaluate: Callable[[PyTree, PyTree, Array], Array]
    """``(params, statistics, inputs) -> logits``, batch norm by the given statistics."""


def loss_of(
    network: Network,
    loss: LossOfLogits = cross_entropy,
    *,
    inputs: str = "image",
    labels: str = "label",
) -> Callable[[PyTree, Mapping[str, Array]], Array]:
    """The loss that a search takes.

    Args:
        network: whose logits to score.
        loss: ``(logits, labels)``: a scalar, or a loss for each label where the method takes those.
        inputs: name of the inputs in a mini-batch; ``text`` of ``rso_jax.tasks.characters``.
        labels: name of the labels; ``next``.

    Returns:
        ``loss_fn(params, batch)`` with ``batch = {"image": [n, ...], "label": [n]}``.
    """

    def loss_fn(params: PyTree, batch: Mapping[str, Array]) -> Array:
        return loss(network.logits(params, batch[inputs]), batch[labels])

    return loss_fn
