"""Evaluation: accuracy and loss on data, batch norm by statistics from training data."""

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from rso_jax.errors import UserError
from rso_jax.mesh import CANDIDATE, DATA, constrain, place, size_of
from rso_jax.networks.functional import Network
from rso_jax.networks.losses import cross_entropy

PyTree = Any

CALIBRATION_EXAMPLES = 2000
"""Statistics come from the first 2000 training images, as in the authors' script."""
NUMBERS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
"""What tasks of examples with labels score."""
_CHUNK = 1000


class Score(NamedTuple):
    """Of a network on some examples."""

    accuracy: float
    """Share of labels that are the largest logit."""
    loss: float
    """Mean cross-entropy, in nats; infinite where logits are not finite."""


@cache
def _compiled(network: Network, mesh: Mesh | None) -> tuple[Any, Any]:
    @jax.jit
    def sums(params: PyTree, statistics: PyTree, images: Array, labels: Array) -> Array:
        logits = network.evaluate(params, statistics, images)
        # Types of fewer bits cannot count to a thousand.
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        loss = cross_entropy(logits, labels, reduction="sum")
        right = jnp.sum(jnp.argmax(logits, axis=-1) == labels)
        known = jnp.sum((labels >= 0) & (labels < logits.shape[-1]))
        return constrain(
            mesh, jnp.stack([right.astype(loss.dtype), loss, known.astype(loss.dtype)])
        )

    @jax.jit
    def statistics_of(params: PyTree, images: Array) -> PyTree:
        return constrain(mesh, network.calibrate(params, images))

    return statistics_of, sums


def calibrate(
    network: Network, params: PyTree, images: np.ndarray, mesh: Mesh | None = None
) -> PyTree:
    """Evaluation statistics of every batch norm, from the first 2000 training images.

    Args:
        network: whose statistics.
        params: its weights.
        images: of the training set, [examples, ...], normalised.
        mesh: devices that share the images; one if not given.

    Returns:
        Pytree of statistics, empty for a network without batch norm.
    """
    return _compiled(network, mesh)[0](params, _shared(mesh, images[:CALIBRATION_EXAMPLES]))


def score(
    network: Network,
    params: PyTree,
    statistics: PyTree,
    images: np.ndarray,
    labels: np.ndarray,
    mesh: Mesh | None = None,
) -> Score:
    """Accuracy and loss on some examples.

    Args:
        network: to evaluate.
        params: its weights.
        statistics: from ``calibrate``.
        images: [examples, ...], normalised as in training.
        labels: integers [examples], or [examples, tokens] where every token has one.
        mesh: devices that share the images; one if not given.

    Raises:
        UserError: no examples, labels of another number or shape, or labels that are no class.
    """
    if len(images) != len(labels) or not len(labels):
        raise UserError(f"there are {len(images)} images and {len(labels)} labels to score")
    sums = _compiled(network, mesh)[1]
    total = np.zeros(3, np.float64)
    for part in _chunks(len(labels)):
        total += np.asarray(
            sums(params, statistics, _shared(mesh, images[part]), _shared(mesh, labels[part])),
            np.float64,
        )
    right, loss, known = total / labels.size
    if known < 1:
        raise UserError(
            f"labels are from {np.min(labels)} to {np.max(labels)}; the network has fewer logits, "
            "or some are below 0"
        )
    return Score(float(right), float(loss) if np.isfinite(loss) else float("inf"))


def _shared(mesh: Mesh | None, examples: np.ndarray) -> Array:
    """Examples on all devices of the mesh, divided among them where their number allows."""
    even = len(examples) % (size_of(mesh, DATA) * size_of(mesh, CANDIDATE)) == 0
    return place(mesh, examples, *[(DATA, CANDIDATE)] * even)


def _chunks(examples: int) -> Iterator[slice]:
    for start in range(0, examples, _CHUNK):
        yield slice(start, start + _CHUNK)
