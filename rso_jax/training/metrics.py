"""The line of metrics.jsonl for a cycle that is complete and was scored."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rso_jax.training.run import Progress
from rso_jax.trees import named_leaves

PyTree = Any

OWN_NAMES = (
    "cycle",
    "minibatch_loss",
    "accepted",
    "accepted_share",
    "accepted_share_by_array",
    "weight_updates",
    "updates_per_weight",
    "decisions",
    "image_evaluations",
    "seconds",
    "candidates",
    "not_finite",
    "aux",
)
"""Names in a line beside those of the score."""


def metrics_line(
    progress: Progress, scored: Mapping[str, float], weights: int, aux: PyTree = None
) -> dict[str, Any]:
    """What a cycle came to.

    ``accepted``, its share and the shares by stage (arrays of a search; the one stage of another
    method) are those of this cycle; updates, decisions made one after the other, evaluations and
    seconds those of the run.
    ``minibatch_loss`` is the loss of ``Info``. Of a search, ``not_finite`` of the cycle's
    ``candidates`` had a loss that was NaN or infinite.

    Args:
        progress: after the cycle's last stage.
        scored: the numbers of the task.
        weights: how many of them are trained.
        aux: what the loss returned besides its value; its scalars go into ``aux`` by their paths.
    """
    accepted, proposed = sum(progress.accepted.values()), sum(progress.proposed.values())
    line: dict[str, Any] = {
        "cycle": progress.cycle + 1,
        **{name: json_number(number) for name, number in scored.items()},
        "minibatch_loss": json_number(progress.loss),
        "accepted": accepted,
        "accepted_share": accepted / proposed,
        "accepted_share_by_array": {
            name: progress.accepted[name] / proposed for name, proposed in progress.proposed.items()
        },
        "weight_updates": progress.weight_updates,
        "updates_per_weight": progress.weight_updates / weights,
        "decisions": progress.decisions,
        "image_evaluations": progress.image_evaluations,
        "seconds": round(progress.seconds, 3),
    }
    if progress.candidates:
        line |= {"candidates": progress.candidates, "not_finite": progress.not_finite}
    scalars = {path: float(a) for path, a in named_leaves(aux).items() if np.shape(a) == ()}
    if scalars:
        line |= {"aux": {path: json_number(value) for path, value in scalars.items()}}
    return line


def json_number(value: float) -> float | None:
    """JSON has no NaN and no infinity: a diverged loss is null."""
    return float(value) if math.isfinite(value) else None
