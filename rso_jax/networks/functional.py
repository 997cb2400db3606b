"""Networks as pure functions: the boundary between modules with state and everything else.

A search sees a function of parameters and inputs alone. State that a module keeps besides
(statistics of batch norm, counters, the carry of a recurrent cell) is the same before every call,
and what a call does to it is dropped; only ``calibrate`` hands it on, to ``evaluate``.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from jax import Array

from rso_jax.errors import UserError
from rso_jax.networks.losses import cross_entropy
from rso_jax.networks.readouts import Readout, last_layer

PyTree = Any
Logits = Array | dict[str, Array]
"""Of a whole network; or of several of its layers by name, in its order, its own last."""
LossOfLogits = Callable[[Array, Array], Array]


class Network(NamedTuple):
    """A classifier as pure functions of inputs [examples, ...].

    Logits are [examples, classes], or [examples, tokens, classes] where tokens are classified. A
    network with local heads has them for several layers, by name; an evaluation takes one array of
    them, or makes one, by the network's readout.
    """

    init: Callable[[Array, Array], PyTree]
    """``(key, inputs) -> params``."""
    logits: Callable[[PyTree, Array], Logits]
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
) -> Callable[[PyTree, Mapping[str, Array]], Any]:
    """The loss that a search takes, or the losses of a network with logits for several layers.

    Args:
        network: whose logits to score.
        loss: ``(logits, labels)``: a scalar, or a loss for each label where the method takes those.
        inputs: name of the inputs in a mini-batch; ``text`` of ``rso_jax.tasks.characters``.
        labels: name of the labels; ``next``.

    Returns:
        ``loss_fn(params, batch)`` with ``batch = {"image": [n, ...], "label": [n]}``: what ``loss``
        returns; of several layers a dictionary of that by name, in the order of the network.
    """

    def loss_fn(params: PyTree, batch: Mapping[str, Array]) -> Any:
        found = network.logits(params, batch[inputs])
        if isinstance(found, dict):
            return {name: loss(logits, batch[labels]) for name, logits in found.items()}
        return loss(found, batch[labels])

    return loss_fn


def name_logits(found: Any) -> Any:
    """What a module's call returns, as logits: a tuple's are named by their places, from 0.

    To be used where the call returns: JAX sorts a dictionary by its keys wherever it passes one on.

    Raises:
        UserError: an empty tuple or mapping.
    """
    if isinstance(found, list | tuple):
        found = dict(enumerate(found))
    if not isinstance(found, Mapping):
        return found
    if not found:
        raise UserError("the network returns no logits, but an empty collection")
    return {str(name): logits for name, logits in found.items()}


def read_out(readout: Readout | None, found: Any) -> Array:
    """The one array of logits that an evaluation takes.

    Args:
        readout: by which; the last logits if not given.
        found: what the module's call returns.

    Raises:
        UserError: a readout that gives something else than logits, or as the readout says.
    """
    named = name_logits(found)
    if not isinstance(named, dict):
        if readout is None:
            one: Array = named
            return one
        named = {"": named}
    read = (readout or last_layer)(named)
    wanted, shape = last_layer(named).shape, getattr(read, "shape", None)
    if shape != wanted:
        raise UserError(f"the readout gives an array of shape {shape}; logits have {wanted}")
    return read


def shapes_of_logits(network: Network, params: PyTree, inputs: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of a network's logits by name, in its order; of one array by ``""``.

    Nothing is computed. What is no array has the shape ().

    Args:
        network: whose logits.
        params: arrays, or shapes and types; likewise ``inputs``.
        inputs: examples.
    """
    names: list[str] = []

    def in_order(params: PyTree, inputs: Array) -> list[Any]:
        found = network.logits(params, inputs)
        named = found if isinstance(found, dict) else {"": found}
        names[:] = named
        return list(named.values())

    found = jax.eval_shape(in_order, params, inputs)
    shapes = [getattr(one, "shape", ()) for one in found]
    return dict(zip(names, shapes, strict=True))
