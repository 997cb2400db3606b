"""Arrays stepped together or in turn, along slopes from node probes, at equal image evaluations.

Digits, a network 64-64-10 with biases and without norm (4,810 weights), mini-batches of 128. A
visit that steps all arrays evaluates 64 + 10 moves and the value; where they take turns, a round of
four visits evaluates 10 moves twice, of the last layer, 64 twice, of the hidden one, and the value
four times. So 75 rounds cost what 152 visits of all do: the arrays that take turns are moved half
as often, and see four times the mini-batches. The learning rate is chosen for each on a sixth of
the training images, held out, three seeds each; the test images are scored at the chosen one alone.

    python experiments/leaf_order.py

Writes ``experiments/results/leaf_order.json``. Two to three minutes on one core.
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from command import run_settings
from frozen import RESULTS
from sklearn.model_selection import train_test_split

from rso_jax.cli.compiled import keep_compiled_programs
from rso_jax.data import load
from rso_jax.files import replace_file
from rso_jax.machine import machine
from rso_jax.training.run_folder import read_metrics

RESULT = RESULTS / "leaf_order.json"
SEEDS = 3
PROBLEM = {
    "dataset": "digits",
    "hidden": (64,),
    "norm": "none",
    "optimizer": "slopes",
    "batch_size": (128,),
    "batches_per_cycle": 4,
}
CYCLES = {"together": 38, "in-turn": 75}
"""Of as many image evaluations, by ``--leaves``."""
RATES = (0.1, 0.3, 1.0)
"""Tried of each."""


def main() -> int:
    """Choose the rates, score the test images at them, and write the file."""
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        split = hold_out(Path(scratch))
        for leaves in CYCLES:
            grid = []
            for rate in RATES:
                tried = {"leaves": leaves, "learning_rate": rate}
                grid.append(tried | run_seeds(tried | {"dataset": str(split)}))
            best = max(grid, key=lambda row: np.mean(row["accuracy"]))
            chosen = {name: best[name] for name in ("leaves", "learning_rate")}
            found.append(chosen | {"held_out": grid} | run_seeds(chosen))
    stored = {"settings": PROBLEM | {"cycles": CYCLES}, "ways": found, **machine()}
    replace_file(RESULT, json.dumps(stored, indent=2) + "\n")
    return 0


def hold_out(folder: Path) -> Path:
    """The training images, a sixth of them in place of the test images."""
    data = load("digits")
    x, x_held, y, y_held = train_test_split(
        data.x_train, data.y_train, test_size=1 / 6, random_state=0, stratify=data.y_train
    )
    path = folder / "split.npz"
    np.savez(path, x_train=x, y_train=y, x_test=x_held, y_test=y_held)
    return path


def run_seeds(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracy of each seed at the end, the steps of an array and image evaluations of each."""
    cycles = CYCLES[settings["leaves"]]
    frozen = PROBLEM | {"cycles": cycles, "score_every": cycles} | settings
    ends = [run_one(frozen | {"seed": seed}) for seed in range(SEEDS)]
    return {
        "accuracy": [line["test_accuracy"] for line in ends],
        "updates_per_weight": ends[0]["updates_per_weight"],
        "image_evaluations": ends[0]["image_evaluations"],
    }


def run_one(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics at the end of a run."""
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        if status := run_settings(run, settings):
            sys.exit(status)
        return read_metrics(run)[-1]


if __name__ == "__main__":
    keep_compiled_programs()
    sys.exit(main())
