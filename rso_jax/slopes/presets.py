"""Presets of descent along slopes."""

import math
from typing import Any

import optax

from rso_jax.errors import UserError, whole_number
from rso_jax.slopes.examples import LossesFn
from rso_jax.slopes.method import Slopes, slopes_method
from rso_jax.slopes.probes import weights
from rso_jax.slopes.steps import muon


def spectral(
    losses_fn: LossesFn,
    steps: int,
    *,
    scale: float = 0.2,
    momentum: float = 0.5,
    eps: float = 0.1,
    **others: Any,
) -> Slopes:
    """Whole arrays at once: every weight probed, steps orthogonalised; see ``docs/spectral.md``.

    Leaves take turns, each on a mini-batch of its own; 64 examples are enough.

    Args:
        losses_fn: as of ``slopes_method``; a scalar will do.
        steps: of each array in the whole run, over which they shrink to a fiftieth; hundreds. With
            as many mini-batches in a cycle as there are arrays, the number of cycles.
        scale: root mean square of the first steps of a kernel, in units of sqrt(2 / fan-in).
        momentum: decay of the mean of the slopes.
        eps: size of probes, as of ``probes.weights``.
        **others: keyword arguments of ``slopes_method`` to replace or add.

    Raises:
        UserError: as ``slopes_method``, or a number that cannot work.
    """
    steps = whole_number("steps", steps, 1)
    for name, value in (("scale", scale), ("eps", eps)):
        if not 0 < value < math.inf:
            raise UserError(f"{name} is {value}; it must be above 0 and finite")
    schedule = optax.linear_schedule(math.sqrt(2) * scale, math.sqrt(2) * scale / 50, steps)
    pieces = {"probes": weights(eps), "leaves": "in_turn"} | others
    return slopes_method(losses_fn, muon(schedule, momentum), **pieces)
