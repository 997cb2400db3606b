"""Networks as pure functions: the boundary between Flax modules and everything else.

While searching and training, batch norm uses the statistics of the mini-batch, so a network is
a function of its parameters and inputs alone. For evaluation ``calibrate`` computes the
statistics once, from training data.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.networks.losses import cross_entropy

if TYPE_CHECKING:
    import flax.linen as nn
    from flax import nnx

PyTree = Any
LossOfLogits = Callable[[Array, Array], Array]


class Network(NamedTuple):
    """A classifier as pure functions of inputs [examples, ...]; logits are [examples, classes]."""

    init: Callable[[Array, Array], PyTree]
    """``(key, inputs) -> params``."""
    logits: Callable[[PyTree, Array], Array]
    """``(params, inputs) -> logits``, batch norm by the statistics of these inputs."""
    calibrate: Callable[[PyTree, Array], PyTree]
    """``(params, inputs) -> statistics`` of every batch norm; pass training inputs."""
    evaluate: Callable[[PyTree, PyTree, Array], Array]
    """``(params, statistics, inputs) -> logits``, batch norm by the given statistics."""


def loss_of(
    network: Network, loss: LossOfLogits = cross_entropy
) -> Callable[[PyTree, Mapping[str, Array]], Array]:
    """The loss that a search takes.

    Args:
        network: whose logits to score.
        loss: ``(logits, labels) -> scalar``.

    Returns:
        ``loss_fn(params, batch)`` with ``batch = {"image": [n, ...], "label": [n]}``.
    """

    def loss_fn(params: PyTree, batch: Mapping[str, Array]) -> Array:
        return loss(network.logits(params, batch["image"]), batch["label"])

    return loss_fn


def linen_network(
    module: "nn.Module",
    *,
    searching: Mapping[str, Any] | None = None,
    evaluating: Mapping[str, Any] | None = None,
) -> Network:
    """A Flax Linen module as pure functions.

    Args:
        module: maps inputs [examples, ...] to logits.
        searching: keyword arguments of its call under which batch norm uses the statistics of
            the batch, for instance ``{"train": True}``; none by default.
        evaluating: the same for stored statistics, ``{"train": False}``.

    Returns:
        A ``Network``. Updates that a call makes to ``batch_stats`` are dropped while searching.
    """
    train, test = dict(searching or {}), dict(evaluating or {})

    def init(key: Array, inputs: Array) -> PyTree:
        return module.init(key, inputs[:1], **train)["params"]

    def stored(params: PyTree, inputs: Array) -> PyTree:
        shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), inputs[:1], **train))
        return shapes.get("batch_stats", {})

    def call(params: PyTree, statistics: PyTree, inputs: Array) -> tuple[Array, PyTree]:
        variables = {"params": params, "batch_stats": statistics}
        logits, updated = module.apply(variables, inputs, mutable=["batch_stats"], **train)
        return logits, updated.get("batch_stats", {})

    def logits(params: PyTree, inputs: Array) -> Array:
        return call(params, _filled(stored(params, inputs), 0.0), inputs)[0]

    def calibrate(params: PyTree, inputs: Array) -> PyTree:
        return _solve_running_average(
            lambda statistics: call(params, statistics, inputs)[1], stored(params, inputs)
        )

    def evaluate(params: PyTree, statistics: PyTree, inputs: Array) -> Array:
        variables = {"params": params, "batch_stats": statistics}
        logits: Array = module.apply(variables, inputs, **test)  # type: ignore[assignment]
        return logits

    return Network(init, logits, calibrate, evaluate)


def from_linen(
    module: "nn.Module",
    key: Array,
    inputs: Array,
    *,
    loss: LossOfLogits = cross_entropy,
    searching: Mapping[str, Any] | None = None,
) -> tuple[PyTree, Callable[[PyTree, Mapping[str, Array]], Array]]:
    """Fresh parameters of a Linen module and the loss that a search takes.

    Args:
        module: maps inputs [examples, ...] to logits.
        key: PRNG key of the initial parameters.
        inputs: examples, for their shape.
        loss: ``(logits, labels) -> scalar``.
        searching: see ``linen_network``.

    Returns:
        ``(params, loss_fn)``; the batch is ``{"image": [n, ...], "label": [n]}``.
    """
    network = linen_network(module, searching=searching)
    return network.init(key, inputs), loss_of(network, loss)


def nnx_network(model: "nnx.Module") -> tuple[PyTree, Network]:
    """A Flax NNX model as pure functions.

    Args:
        model: maps inputs [examples, ...] to logits. It is not changed.

    Returns:
        ``(params, network)``: its ``nnx.Param`` values as nested dictionaries of arrays, and the
        functions. ``network.init`` ignores its arguments and returns these same parameters,
        because an NNX model is created with its own.
    """
    from flax import nnx

    training, testing = nnx.clone(model), nnx.clone(model)
    training.train()
    testing.eval()
    graph, like, initial_statistics, other = nnx.split(  # type: ignore[misc]
        training, nnx.Param, nnx.BatchStat, ...
    )
    test_graph = nnx.split(testing, nnx.Param, nnx.BatchStat, ...)[0]
    params = nnx.to_pure_dict(like)

    def filled(state: Any, values: PyTree) -> Any:
        copy = jax.tree.map(lambda a: a, state)
        nnx.replace_by_pure_dict(copy, values)
        return copy

    def call(graph: Any, params: PyTree, statistics: PyTree, inputs: Array) -> tuple[Array, PyTree]:
        merged = nnx.merge(
            graph, filled(like, params), filled(initial_statistics, statistics), other
        )
        logits = merged(inputs)
        return logits, nnx.to_pure_dict(nnx.state(merged, nnx.BatchStat))

    stored = nnx.to_pure_dict(initial_statistics)

    def calibrate(params: PyTree, inputs: Array) -> PyTree:
        return _solve_running_average(
            lambda statistics: call(graph, params, statistics, inputs)[1], stored
        )

    return params, Network(
        init=lambda key, inputs: params,
        logits=lambda params, inputs: call(graph, params, stored, inputs)[0],
        calibrate=calibrate,
        evaluate=lambda params, statistics, inputs: call(test_graph, params, statistics, inputs)[0],
    )


def from_nnx(
    model: "nnx.Module", *, loss: LossOfLogits = cross_entropy
) -> tuple[PyTree, Callable[[PyTree, Mapping[str, Array]], Array]]:
    """The parameters of an NNX model and the loss that a search takes.

    Args:
        model: maps inputs [examples, ...] to logits.
        loss: ``(logits, labels) -> scalar``.

    Returns:
        ``(params, loss_fn)``; the batch is ``{"image": [n, ...], "label": [n]}``.
    """
    params, network = nnx_network(model)
    return params, loss_of(network, loss)


def _filled(like: PyTree, value: float) -> PyTree:
    return jax.tree.map(lambda a: jnp.full(a.shape, value, a.dtype), like)


def _solve_running_average(update: Callable[[PyTree], PyTree], like: PyTree) -> PyTree:
    """The batch's own statistics from an update ``old -> m old + (1 - m) batch``, any m < 1.

    From old = 0 it gives (1 - m) batch, from old = 1 it gives m more; so momentum need not be
    known, and one pass over the calibration examples replaces many.
    """
    from_zero = update(_filled(like, 0.0))
    from_one = update(_filled(like, 1.0))
    return jax.tree.map(lambda a, b: a / (1 - (b - a)), from_zero, from_one)
