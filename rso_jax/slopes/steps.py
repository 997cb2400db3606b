"""Steps along slopes: optax chains of the usual settings, by name.

Any other optax optimiser does as well. A learning rate may be an optax schedule, which counts
steps. Weights decay apart from the slopes (Loshchilov & Hutter 2019): at each step by the learning
rate times ``weight_decay``, kernels only.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from optax.contrib import MuonDimensionNumbers

from rso_jax.errors import UserError

PyTree = Any


def sgd(
    learning_rate: optax.ScalarOrSchedule, momentum: float = 0.9, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Steps of stochastic gradient descent, with momentum.

    Args:
        learning_rate: a number, or a schedule.
        momentum: share of a step that the next one repeats, in [0, 1).
        weight_decay: of kernels, in units of the learning rate.

    Raises:
        UserError: a number that cannot work.
    """
    _check(learning_rate, momentum, weight_decay)
    return optax.chain(
        optax.trace(momentum),
        optax.add_decayed_weights(weight_decay, mark_kernels),
        optax.scale_by_learning_rate(learning_rate),
    )


def adamw(
    learning_rate: optax.ScalarOrSchedule, momentum: float = 0.9, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Steps of Adam.

    Args:
        learning_rate: as of ``sgd``.
        momentum: decay of the mean of the slopes.
        weight_decay: as of ``sgd``.

    Raises:
        UserError: a number that cannot work.
    """
    _check(learning_rate, momentum, weight_decay)
    return optax.adamw(learning_rate, b1=momentum, weight_decay=weight_decay, mask=mark_kernels)


def muon(
    learning_rate: optax.ScalarOrSchedule, momentum: float = 0.9, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Steps of kernels all of whose singular values are alike (Jordan et al., "Muon", 2024).

    A kernel [*inputs, outputs] is a matrix [fan-in, outputs]; its step has the root mean square
    ``learning_rate / sqrt(fan-in)``. Shifts and scales, which are no matrices, are stepped by Adam
    at a tenth of the learning rate. Kernels stored in another way, outputs first or stacked on one
    another, want ``optax.contrib.muon`` and its ``muon_weight_dimension_numbers``.

    Args:
        learning_rate: as of ``sgd``.
        momentum: decay of the mean of the slopes; of kernels Nesterov's.
        weight_decay: as of ``sgd``.

    Raises:
        UserError: a number that cannot work.
    """
    _check(learning_rate, momentum, weight_decay)
    return optax.contrib.muon(
        learning_rate,
        beta=momentum,
        weight_decay=weight_decay,
        adam_b1=momentum,
        adam_learning_rate=_times(VECTORS, learning_rate),
        muon_weight_dimension_numbers=_as_matrices,
    )


VECTORS = 0.1
"""Step of shifts and scales by ``muon``, in units of the learning rate."""

STEPS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": sgd,
    "adamw": adamw,
    "muon": muon,
}
"""``(learning_rate, momentum, weight_decay)``, by name."""


def mark_kernels(params: PyTree) -> PyTree:
    """Which arrays are matrices: those of more than one axis longer than 1."""
    return jax.tree.map(lambda a: sum(size > 1 for size in np.shape(a)) > 1, params)


def _as_matrices(params: PyTree) -> PyTree:
    """Every kernel as a matrix [fan-in, outputs], outputs last; None for what is no kernel."""

    def as_matrix(array: Any, is_kernel: bool) -> MuonDimensionNumbers | None:
        last = np.ndim(array) - 1
        return MuonDimensionNumbers((*range(last),), last) if is_kernel else None

    return jax.tree.map(as_matrix, params, mark_kernels(params))


def _times(factor: float, learning_rate: optax.ScalarOrSchedule) -> optax.ScalarOrSchedule:
    if callable(learning_rate):
        return lambda count: factor * learning_rate(count)
    return factor * learning_rate


def _check(learning_rate: Any, momentum: float, weight_decay: float) -> None:
    if not callable(learning_rate) and not learning_rate > 0:
        raise UserError(f"learning_rate is {learning_rate}; it must be above 0")
    if not 0 <= momentum < 1:
        raise UserError(f"momentum is {momentum}; it must be at least 0 and below 1")
    if not 0 <= weight_decay < 1:
        raise UserError(f"weight_decay is {weight_decay}; it must be at least 0 and below 1")
