"""Flax NNX models as pure functions."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rso_jax.errors import UserError
from rso_jax.networks.functional import (
    Logits,
    LossOfLogits,
    Network,
    loss_of,
    name_logits,
    read_out,
)
from rso_jax.networks.losses import cross_entropy
from rso_jax.networks.readouts import Readout
from rso_jax.networks.statistics import calibrated, kept_in_shape

if TYPE_CHECKING:
    from flax import nnx

PyTree = Any


def nnx_network(
    model: "nnx.Module",
    *,
    searching: Mapping[str, Any] | None = None,
    evaluating: Mapping[str, Any] | None = None,
    readout: Readout | None = None,
) -> tuple[PyTree, Network]:
    """A Flax NNX model as pure functions.

    While searching the model is called in the mode in which it is given; a new one is in training
    mode: batch norm uses the statistics of the batch, dropout drops. Evaluation is that of
    ``model.eval()``. Every call begins with the state the model has now, its streams of random
    numbers included, so that every candidate is scored with the same dropout mask.

    Args:
        model: maps inputs [examples, ...] to logits; or to a tuple or a mapping of those of several
            layers in its order, its own last. It is not changed.
        searching: keyword arguments of its call while searching; none by default.
        evaluating: the same for evaluation.
        readout: which of several logits an evaluation takes, one of ``rso_jax.networks.readouts``
            or any function of logits by name; the last if not given.

    Returns:
        ``(params, network)``: its ``nnx.Param`` values as nested dictionaries of arrays, and the
        functions. ``network.init`` ignores its arguments and returns these same parameters,
        because an NNX model is created with its own. Its statistics are, under ``batch_stats``,
        all other arrays of the model but the streams of random numbers.

    Raises:
        UserError: something that is no NNX module. ``evaluate`` raises one where the model changes
            its batch statistics.
    """
    from flax import nnx

    if not isinstance(model, nnx.Module):
        kind = model.__name__ if isinstance(model, type) else type(model).__name__
        raise UserError(
            f"{kind} is no instance of a flax.nnx module; pass one, to nnx_network or from_nnx (of "
            "flax.linen: linen_network, from_linen)"
        )
    train, test = dict(searching or {}), dict(evaluating or {})
    testing = nnx.clone(model)
    testing.eval()
    graph, own_params, own_state, rest = nnx.split(  # type: ignore[misc]
        nnx.clone(model), nnx.Param, _is_state, ...
    )
    test_graph = nnx.split(testing, nnx.Param, _is_state, ...)[0]
    params, stored = nnx.to_pure_dict(own_params), nnx.to_pure_dict(own_state)

    def call(
        graph: Any, params: PyTree, state: PyTree, inputs: Array, arguments: Mapping[str, Any]
    ) -> tuple[Any, "nnx.Module"]:
        parts = _filled(own_params, params, "params"), _filled(own_state, state, "statistics"), rest
        # Copied: what a call changes must not outlive it.
        model = nnx.merge(graph, *parts, copy=True)
        return model(inputs, **arguments), model

    def logits(params: PyTree, inputs: Array) -> Logits:
        found: Logits = name_logits(call(graph, params, stored, inputs, train)[0])
        return found

    def calibrate(params: PyTree, inputs: Array) -> PyTree:
        paths = [path for path, _ in nnx.to_flat_state(own_state)]

        def update(now: PyTree) -> PyTree:
            after = dict(nnx.to_flat_state(nnx.state(call(graph, params, now, inputs, train)[1])))
            new = {path: _value(after[path]) for path in paths if path in after}
            old = dict(zip(paths, jax.tree.leaves(now), strict=True))
            kept = kept_in_shape(old, new)
            return jax.tree.unflatten(jax.tree.structure(now), [kept[path] for path in paths])

        return {"batch_stats": calibrated(update, jax.tree.map(jnp.asarray, stored))}

    def evaluate(params: PyTree, statistics: PyTree, inputs: Array) -> Array:
        before = statistics["batch_stats"]
        found, after = call(test_graph, params, before, inputs, test)
        given = dict(zip(nnx.to_flat_state(own_state).paths, jax.tree.leaves(before), strict=True))
        for path, variable in nnx.to_flat_state(nnx.state(after, nnx.BatchStat)):
            if path in given and variable.get_value() is not given[path]:
                raise UserError(
                    f"{type(model).__name__}, called after model.eval() with evaluating={test}, "
                    f"changes its statistics {'/'.join(map(str, path))}: pass arguments in "
                    "evaluating that make it use stored ones, for instance {'train': False}"
                )
        return read_out(readout, found)

    return params, Network(lambda key, inputs: params, logits, calibrate, evaluate)


def from_nnx(
    model: "nnx.Module",
    *,
    loss: LossOfLogits = cross_entropy,
    searching: Mapping[str, Any] | None = None,
) -> tuple[PyTree, Callable[[PyTree, Mapping[str, Array]], Any]]:
    """The parameters of an NNX model and the loss that a search takes.

    Args:
        model: maps inputs [examples, ...] to logits, in the mode in which it is to be searched;
            see ``nnx_network``.
        loss: ``(logits, labels) -> scalar``; of each layer that has logits.
        searching: keyword arguments of its call; none by default.

    Returns:
        ``(params, loss_fn)``; the batch is ``{"image": [n, ...], "label": [n]}``.

    Raises:
        UserError: something that is no NNX module.
    """
    params, network = nnx_network(model, searching=searching)
    return params, loss_of(network, loss)


def _is_state(path: tuple[Any, ...], leaf: Any) -> bool:
    """Whether a leaf of the model is an array that a call may change, but no random stream."""
    from flax import nnx

    if isinstance(leaf, nnx.RngState):
        return False
    return isinstance(_value(leaf), Array | np.ndarray | np.generic | bool | int | float | complex)


def _value(leaf: Any) -> Any:
    from flax import nnx

    return leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf


def _filled(state: Any, values: PyTree, name: str) -> Any:
    """A state with other values, given as ``nnx.to_pure_dict`` gives its own."""
    from flax import nnx

    if _paths(values) != _paths(nnx.to_pure_dict(state)):
        raise UserError(f"these {name} are not those of the model: other arrays, or other names")
    return jax.tree.unflatten(jax.tree.structure(state), jax.tree.leaves(values))


def _paths(tree: PyTree) -> list[Any]:
    return [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
