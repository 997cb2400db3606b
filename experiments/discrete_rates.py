"""Learning rates, windows and sizes of moves of ``discrete.py``, on held-out training images.

Trained on 50,000 training images, scored on the other 10,000, in runs shorter than the published
ones. Rates are compared first, then what else there is at the best rate. What was measured already
is not measured again.

    python experiments/discrete_rates.py --data-dir DIR

Writes ``experiments/results/discrete/chosen.json``.
"""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from command import run_settings
from discrete import CHOSEN, RUNS
from frozen import Names, OptionalPath

from rso_jax.cli.compiled import keep_compiled_programs
from rso_jax.data import load
from rso_jax.errors import UserError
from rso_jax.files import replace_file
from rso_jax.training.run_folder import read_metrics

TRAINED_ON = 50_000
Choices = tuple[str, tuple[float, ...]]
ADAM: tuple[Choices, ...] = (("learning_rate", (0.001, 0.003, 0.01)),)
STRAIGHT: tuple[Choices, ...] = (*ADAM, ("window", (0.5, 1.0, 2.0)))
STEEP: tuple[Choices, ...] = (("learning_rate", (0.001, 0.003)), ("eps", (0.1, 0.25, 0.5)))
LOCAL: tuple[Choices, ...] = (("learning_rate", (0.2, 0.5, 1.0)),)
GRIDS: dict[str, tuple[tuple[Choices, ...], int]] = {
    "sign-1-slopes": (STEEP, 4),
    "sign-1-gradients": (STRAIGHT, 4),
    "sign-3-heads-slopes": (STEEP, 3),
    "sign-3-heads-gradients": (STRAIGHT, 3),
    "sign-3-gradients": (STRAIGHT, 3),
    "int8-slopes": ((("learning_rate", (0.001, 0.003)), ("eps", (0.05, 0.1, 0.2))), 4),
    "int8-gradients": (ADAM, 4),
    "ternary-heads-slopes": (LOCAL, 2),
    "ternary-heads-gradients": (ADAM, 1),
    "sign-conv-heads-slopes": (LOCAL, 2),
    "sign-conv-heads-gradients": (ADAM, 1),
}
"""What is tried for a run, and in how many cycles."""


@dataclass(frozen=True)
class Options:
    """Choose what is missing."""

    only: Names = ()
    """Names of the runs; all by default."""
    data_dir: OptionalPath = None
    """Folder of prepared tensorflow-datasets; see `rso data list`."""


def main(options: Options) -> None:
    """Try what is to be tried, run by run; the file is written after each trial."""
    with tempfile.TemporaryDirectory() as scratch:
        split = hold_out(options.data_dir, Path(scratch))
        for run in options.only or GRIDS:
            found = json.loads(CHOSEN.read_text()) if CHOSEN.exists() else {}
            choose(run, split, found.get(run, {}).get("grid", []))


def hold_out(data_dir: Path | None, folder: Path) -> Path:
    """MNIST as a file whose test images are held-out training images."""
    data, path = load("mnist", data_dir), folder / "split.npz"
    parts = slice(TRAINED_ON), slice(TRAINED_ON, None)
    x_train, x_test = (data.x_train[part] for part in parts)
    y_train, y_test = (data.y_train[part] for part in parts)
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


def choose(run: str, split: Path, grid: list[dict[str, Any]]) -> None:
    """One setting after the other, each at the best of those before."""
    choices, cycles = GRIDS[run]
    best: dict[str, Any] = {}
    for name, values in choices:
        tried = [best | {name: value} for value in values]
        scores = [score(run, one, cycles, split, grid) for one in tried]
        best = tried[int(np.argmax(scores))]
        write(run, grid, best if name == choices[-1][0] else None)
    print(f"{run}: {best}", flush=True)


def score(
    run: str, tried: Mapping[str, Any], cycles: int, split: Path, grid: list[dict[str, Any]]
) -> float:
    """Held-out accuracy, measured or known; what is measured goes into the grid."""
    for row in grid:
        if row["settings"] == tried and row["cycles"] == cycles:
            return float(row["held_out_accuracy"])
    settings = RUNS[run] | {"dataset": str(split), "cycles": cycles, "score_every": cycles}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        if status := run_settings(folder, settings | tried | {"seed": 0}):
            sys.exit(status)
        accuracy = read_metrics(folder)[-1]["test_accuracy"]
    grid.append({"settings": dict(tried), "cycles": cycles, "held_out_accuracy": accuracy})
    write(run, grid, None)
    return float(accuracy)


def write(run: str, grid: Sequence[Any], best: Mapping[str, Any] | None) -> None:
    """What is measured of a run, and what is chosen once all is."""
    found = json.loads(CHOSEN.read_text()) if CHOSEN.exists() else {}
    found[run] = {"grid": list(grid)} | ({} if best is None else {"chosen": dict(best)})
    CHOSEN.parent.mkdir(parents=True, exist_ok=True)
    replace_file(CHOSEN, json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    keep_compiled_programs()
    try:
        main(tyro.cli(Options, description=__doc__))
    except UserError as error:
        sys.exit(f"error: {error}")
