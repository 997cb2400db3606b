"""When a run is saved; how, see ``checkpoint``."""

import time
from pathlib import Path

from rso_jax.training import run_folder
from rso_jax.training.checkpoint import save_checkpoint
from rso_jax.training.run import Run

CHECKPOINT_SECONDS = 60.0
"""Within a stage a checkpoint is written this often."""
CHECKPOINT_SHARE = 0.05
"""A checkpoint is written after every stage, but of many short ones only after as many that saving
takes about this share of the time."""


class Checkpointer:
    """Saves a run in its folder, when it is time; it knows when it last did, and how long it took.

    Every method returns the run, with the number of its newest checkpoint.
    """

    def __init__(self, folder: Path | None, seed: int) -> None:
        """Without a folder nothing is ever saved; the seed is written beside the progress."""
        self._folder, self._seed = folder, seed
        self._saved_at, self._took = time.monotonic(), 0.0

    def within_stage(self, run: Run) -> Run:
        """Save if the last checkpoint is CHECKPOINT_SECONDS old."""
        return self._save_unless_within(CHECKPOINT_SECONDS, run)

    def between_stages(self, run: Run) -> Run:
        """Save if that takes at most CHECKPOINT_SHARE of the time, or if the run stops."""
        return self._save_unless_within(0.0 if run.stopped else self._took / CHECKPOINT_SHARE, run)

    def save(self, run: Run) -> Run:
        """Save in any case."""
        return self._save_unless_within(0.0, run)

    def _save_unless_within(self, seconds: float, run: Run) -> Run:
        began = time.monotonic()
        if self._folder is None or began - self._saved_at < seconds:
            return run
        number = run.progress.checkpoint + 1
        run = run.with_progress(checkpoint=number)
        with run_folder.writing(self._folder):
            checkpoints = self._folder / run_folder.CHECKPOINTS
            progress = run.progress._asdict() | {"seed": self._seed}
            save_checkpoint(checkpoints, number, run.state, progress)
        self._saved_at = time.monotonic()
        self._took = self._saved_at - began
        return run
