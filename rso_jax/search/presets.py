"""Presets: the paper and the authors' script, which differ, each as keyword arguments of ``rso``.

=====================  ================================  ================================
point                  ``paper``                         ``authors_code``
=====================  ================================  ================================
sigma of a leaf        its standard deviation after      sqrt(2 / fan_in); 0.167 for
                       init; 0.167 for a constant one    batch-norm scale and shift
factor on sigma        linear, from 1 in the first       0.1 + 0.9 (C - c) / C in cycle
                       cycle to 1/10 in the last         c = 0..C-1 of C
weight decay           none                              times 1 - 1e-4 at every visit
mini-batch of a visit  drawn afresh from all examples    the next of the stack, which is
                                                         reshuffled before each sweep
input                  (x - mean) / std                  x / 255 - mean
loss                   mean cross-entropy                summed cross-entropy, logits
                                                         cast to float64
=====================  ================================  ================================

The last two rows are not part of a search; ``rso_jax.training`` applies them (``Conventions``).
Sources: Tripathi & Singh, arXiv 2005.05955, Algorithm 1 and section 3; the authors' MXNet
training script, default settings.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import optax

from rso_jax.errors import UserError
from rso_jax.search import minibatches, sigma


class Conventions(NamedTuple):
    """What a preset fixes outside the search itself."""

    normalization: Literal["center", "standardize"]
    """Of the input images; see ``rso_jax.data.normalize``."""
    loss_reduction: Literal["mean", "sum"]
    """Over the examples of a mini-batch."""
    loss_precision: Literal["float32", "float64"]
    """Of the logits inside the cross-entropy."""


def _checked(cycles: int) -> int:
    if cycles < 1:
        raise UserError(f"cycles is {cycles}; train for at least 1")
    return cycles


def paper(cycles: int) -> dict[str, Any]:
    """Keyword arguments of ``rso`` as Algorithm 1 of the paper describes it.

    Args:
        cycles: cycles of the whole run, over which sigma is annealed.
    """
    last = max(_checked(cycles) - 1, 1)
    return {
        "sigma": sigma.empirical,
        "schedule": optax.linear_schedule(1.0, 0.1, last),
        "weight_decay": 0.0,
        "minibatches": minibatches.fresh,
    }


def authors_code(cycles: int) -> dict[str, Any]:
    """Keyword arguments of ``rso`` as the authors' script sets them by default.

    Args:
        cycles: cycles of the whole run, over which sigma is annealed.
    """
    return {
        "sigma": sigma.he,
        "schedule": optax.linear_schedule(1.0, 0.1, _checked(cycles)),
        "weight_decay": 1e-4,
        "minibatches": minibatches.cycled,
    }


PRESETS: dict[str, Callable[[int], dict[str, Any]]] = {
    "authors_code": authors_code,
    "paper": paper,
}
CONVENTIONS: dict[str, Conventions] = {
    "authors_code": Conventions("center", "sum", "float64"),
    "paper": Conventions("standardize", "mean", "float32"),
}
