"""What a run records: where it stands, what it cost so far, and a line for each cycle scored."""

import math
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from rso_jax.data import Dataset
from rso_jax.networks.functional import Network
from rso_jax.training.evaluation import calibrate, score
from rso_jax.training.method import Stage, Tally, count_weights
from rso_jax.trees import named_leaves

PyTree = Any

TRAIN_SCORE_EXAMPLES = 10_000
"""Training loss and accuracy of a cycle are taken over at most the first 10,000 examples."""


class Progress(NamedTuple):
    """Where a run stands, and what it cost so far."""

    checkpoint: int = 0
    cycle: int = 0
    stage: int = 0
    visit: int = 0
    accepted: dict[str, int] = {}  # noqa: RUF012 (never mutated)
    """Accepted changes by stage, in this cycle."""
    proposed: dict[str, int] = {}  # noqa: RUF012
    """Proposed changes by stage, in this cycle."""
    not_finite: int = 0
    """Candidates of this cycle whose loss was NaN or infinite."""
    candidates: int = 0
    """Candidates evaluated in this cycle, of a search."""
    loss: float = math.nan
    """Of the last visit, per example, as ``Tally`` says; NaN before the first."""
    weight_updates: int = 0
    image_evaluations: int = 0
    seconds: float = 0.0
    """Spent in stages and in drawing mini-batches, compilation included; evaluation and
    checkpoints are not."""
    pace: dict[str, float] = {}  # noqa: RUF012
    """Seconds for a visit of each stage and an example of its mini-batch, as last measured."""


def added(
    progress: Progress, stage: Stage, tally: Tally, visit: int, took: float, loss_scale: float
) -> Progress:
    """``progress`` after some visits of a stage, up to ``visit``, which took so many seconds."""
    accepted, proposed = dict(progress.accepted), dict(progress.proposed)
    accepted[stage.name] = accepted.get(stage.name, 0) + int(tally.accepted)
    proposed[stage.name] = proposed.get(stage.name, 0) + tally.proposed
    return progress._replace(
        visit=visit,
        accepted=accepted,
        proposed=proposed,
        not_finite=progress.not_finite + int(tally.not_finite),
        candidates=progress.candidates + tally.candidates,
        loss=float(tally.loss) * loss_scale,
        weight_updates=progress.weight_updates + tally.weight_updates,
        image_evaluations=progress.image_evaluations + tally.image_evaluations,
        seconds=progress.seconds + took,
    )


def score_cycle(
    params: PyTree,
    network: Network,
    data: Dataset,
    progress: Progress,
    mesh: Mesh | None,
    trained: int | None = None,
    aux: PyTree = None,
) -> tuple[dict[str, Any], PyTree]:
    """The line of metrics.jsonl for the cycle now complete, and the statistics it was scored with.

    ``accepted``, its share and the shares by stage (arrays of a search; the one stage of another
    method) are those of this cycle; updates, evaluations and seconds those of the run.
    ``train_loss`` and ``train_accuracy`` are over the first 10,000 training examples at most, and
    ``minibatch_loss`` is the loss of ``Tally``. Of a search, ``not_finite`` of the cycle's
    ``candidates`` had a loss that was NaN or infinite.

    Args:
        params: the weights.
        network: they are of.
        data: to score on.
        progress: after the cycle.
        mesh: devices that share the work.
        trained: how many of the weights are trained; all, if None.
        aux: what the loss returned besides its value; its scalars go into ``aux`` by their paths.
    """
    statistics = calibrate(network, params, data.x_train, mesh)
    part = slice(0, TRAIN_SCORE_EXAMPLES)
    on_train = score(network, params, statistics, data.x_train[part], data.y_train[part], mesh)
    on_test = score(network, params, statistics, data.x_test, data.y_test, mesh)
    accepted, proposed = sum(progress.accepted.values()), sum(progress.proposed.values())
    line: dict[str, Any] = {
        "cycle": progress.cycle + 1,
        "train_loss": _json_number(on_train.loss),
        "train_accuracy": on_train.accuracy,
        "test_loss": _json_number(on_test.loss),
        "test_accuracy": on_test.accuracy,
        "minibatch_loss": _json_number(progress.loss),
        "accepted": accepted,
        "accepted_share": accepted / proposed,
        "accepted_share_by_array": {
            name: progress.accepted[name] / proposed for name, proposed in progress.proposed.items()
        },
        "weight_updates": progress.weight_updates,
        "updates_per_weight": progress.weight_updates / (trained or count_weights(params)),
        "image_evaluations": progress.image_evaluations,
        "seconds": round(progress.seconds, 3),
    }
    if progress.candidates:
        line |= {"candidates": progress.candidates, "not_finite": progress.not_finite}
    scalars = {path: float(a) for path, a in named_leaves(aux).items() if np.shape(a) == ()}
    if scalars:
        line |= {"aux": {path: _json_number(value) for path, value in scalars.items()}}
    return line, statistics


def _json_number(value: float) -> float | None:
    """JSON has no NaN and no infinity: a diverged loss is null."""
    return value if math.isfinite(value) else None
