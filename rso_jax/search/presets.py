"""Presets, each as keyword arguments of ``rso``: the paper, and the authors' script.

What a preset should say otherwise is passed to it, not beside it::

    search = rso(loss_fn, **presets.authors_code(cycles=5, weight_decay=0.0))

They are for reproducing the paper, and differ:

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

The last two rows are not part of a search; whoever trains applies them (``Conventions``).
Conventions of ``spectral`` are those that ``rso_jax.slopes.spectral`` trains by.

Sources: Tripathi & Singh, arXiv 2005.05955, Algorithm 1 and section 3; the authors' MXNet
training script, default settings.
"""

import inspect
from collections.abc import Callable
from numbers import Integral
from typing import Any, Literal, NamedTuple

import optax

from rso_jax.errors import UserError, check_name
from rso_jax.search import minibatches, sigma
from rso_jax.search.assembly import rso


class Conventions(NamedTuple):
    """What a preset fixes outside the search itself."""

    normalization: Literal["center", "standardize"]
    """Of the input images; see ``rso_jax.data.normalize``."""
    loss_reduction: Literal["mean", "sum"]
    """Over the examples of a mini-batch."""
    loss_precision: Literal["float32", "float64"]
    """Of the logits inside the cross-entropy."""
    batch_size: int = 5000
    """Examples in a mini-batch, unless the data are fewer."""
    batches_per_cycle: int | None = None
    """Mini-batches drawn for a cycle; all that the data fill, if None."""
    cycles: int | None = None
    """Of a run; what suits the data, if None."""
    evaluations: int | None = None
    """Of a run, in cycles equally far apart; one after every cycle, if None."""


def _checked(cycles: int) -> int:
    if not isinstance(cycles, Integral) or isinstance(cycles, bool) or cycles < 1:
        raise UserError(f"cycles is {cycles!r}; train for at least 1")
    return int(cycles)


def _with(pieces: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of ``rso``, some of them replaced or added."""
    parameters = inspect.signature(rso).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    for name in overrides:
        check_name("a keyword argument", name, known)
    return pieces | overrides


def paper(cycles: int, **overrides: Any) -> dict[str, Any]:
    """Keyword arguments of ``rso`` as Algorithm 1 of the paper describes it.

    Args:
        cycles: cycles of the whole run, over which sigma is annealed.
        **overrides: keyword arguments of ``rso`` to replace or add.

    Raises:
        UserError: no cycle, or a keyword that ``rso`` does not have.
    """
    last = max(_checked(cycles) - 1, 1)
    pieces = {
        "sigma": sigma.empirical,
        "schedule": optax.linear_schedule(1.0, 0.1, last),
        "weight_decay": 0.0,
        "minibatches": minibatches.fresh,
    }
    return _with(pieces, overrides)


def authors_code(cycles: int, **overrides: Any) -> dict[str, Any]:
    """Keyword arguments of ``rso`` as the authors' script sets them by default.

    Args:
        cycles: cycles of the whole run, over which sigma is annealed.
        **overrides: keyword arguments of ``rso`` to replace or add.

    Raises:
        UserError: no cycle, or a keyword that ``rso`` does not have.
    """
    pieces = {
        "sigma": sigma.he,
        "schedule": optax.linear_schedule(1.0, 0.1, _checked(cycles)),
        "weight_decay": 1e-4,
        "minibatches": minibatches.cycled,
    }
    return _with(pieces, overrides)


PRESETS: dict[str, Callable[..., dict[str, Any]]] = {
    "authors_code": authors_code,
    "paper": paper,
}
CONVENTIONS: dict[str, Conventions] = {
    "authors_code": Conventions("center", "sum", "float64"),
    "paper": Conventions("standardize", "mean", "float32"),
    "spectral": Conventions(
        *("center", "sum", "float64"),
        batch_size=64,
        batches_per_cycle=20,
        cycles=150,
        evaluations=50,
    ),
}
