"""A run: the method's state, where it stands, what it cost so far, and its metrics.

Runs are values: whatever happens to one gives another.
"""

import math
from typing import Any, NamedTuple

from jax import Array

from rso_jax.method import Info, Stage

PyTree = Any


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
    """Of the last visit, per example, as ``Info`` says; NaN before the first."""
    weight_updates: int = 0
    decisions: int = 0
    """Made one after the other, as ``Info`` has it."""
    image_evaluations: int = 0
    seconds: float = 0.0
    """Spent in stages and in drawing mini-batches, compilation included; evaluation and
    checkpoints are not."""
    pace: dict[str, float] = {}  # noqa: RUF012
    """Seconds for a visit of each stage and an example of its mini-batch, as last measured."""


class Cycle(NamedTuple):
    """What the stages of one cycle work on."""

    key: Array
    batches: PyTree
    """Stack of mini-batches [M, n, ...]."""
    batch_size: int
    stages: list[Stage]


class Run(NamedTuple):
    """A run between two calls to the device."""

    state: PyTree
    """The method's."""
    progress: Progress = Progress()
    metrics: tuple[dict[str, Any], ...] = ()
    """A line for each cycle scored."""
    stopped: str | None = None
    """Why it is to stop, once it is."""
    compiled: frozenset[str] = frozenset()
    """Names of the stages that have made a call in this process."""

    def with_progress(self, **changes: Any) -> "Run":
        """The run with other fields of its progress."""
        return self._replace(progress=self.progress._replace(**changes))

    def spending(self, seconds: float) -> "Run":
        """The run after so many more seconds."""
        return self.with_progress(seconds=self.progress.seconds + seconds)

    def after_visits(self, stage: Stage, end: int, state: PyTree, info: Info) -> "Run":
        """The run after the visits of a stage up to ``end``, which came to this state."""
        progress = self.progress
        accepted, proposed = dict(progress.accepted), dict(progress.proposed)
        accepted[stage.name] = accepted.get(stage.name, 0) + int(info.accepted)
        proposed[stage.name] = proposed.get(stage.name, 0) + info.visits
        return self._replace(state=state).with_progress(
            visit=end,
            accepted=accepted,
            proposed=proposed,
            not_finite=progress.not_finite + int(info.not_finite),
            candidates=progress.candidates + info.candidates,
            loss=float(info.loss),
            weight_updates=progress.weight_updates + info.weight_updates,
            decisions=progress.decisions + info.decisions,
            image_evaluations=progress.image_evaluations + info.image_evaluations,
        )

    def with_pace(self, stage: Stage, pace: float) -> "Run":
        """The run with the pace of a stage; a first call, which compiles, counts only if alone."""
        run = self._replace(compiled=self.compiled | {stage.name})
        alone = self.progress.visit == stage.visits and stage.name not in self.progress.pace
        if stage.name in self.compiled or alone:
            run = run.with_progress(pace=self.progress.pace | {stage.name: pace})
        return run

    def after_stage(self) -> "Run":
        """The run before the next stage of the cycle."""
        return self.with_progress(stage=self.progress.stage + 1, visit=0)

    def after_cycle(self) -> "Run":
        """The run before the first stage of the next cycle."""
        return self.with_progress(
            cycle=self.progress.cycle + 1,
            stage=0,
            visit=0,
            accepted={},
            proposed={},
            not_finite=0,
            candidates=0,
        )
