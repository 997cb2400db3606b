"""Settings of the baselines, chosen on held-out training images.

A sixth of the training images (stratified, fixed) is scored in place of the test images, which are
never looked at. One setting after the other is varied, the best value kept: learning rate first,
then batch size and weight decay, or sigma and population of an evolution strategy. Chosen is the
best of all that was measured. Runs are shorter than the published ones, and on all data sets but
digits see a part of the training images. A value already measured is not measured again.

    python experiments/tune.py digits sgd
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import tyro
from command import run_settings
from frozen import POPULATION, OptionalPath, tuning_file
from sklearn.model_selection import train_test_split

from rso_jax.cli.compiled import keep_compiled_programs
from rso_jax.data import load
from rso_jax.errors import UserError
from rso_jax.files import replace_file
from rso_jax.training.run_folder import read_metrics

BATCHES = {"batch_size": ((16,), (32,), (64,), (128,), (256,))}
EVOLUTION = {
    "learning_rate": (0.003, 0.01, 0.03, 0.1, 0.3),
    "sigma": (0.02, 0.05, 0.1, 0.2),
    "population": (16, 64, 256, 1024),
}
GRIDS: dict[str, Mapping[str, tuple[Any, ...]]] = {
    "sgd": {
        "learning_rate": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
        **BATCHES,
        "weight_decay": (0.0, 1e-4, 1e-3, 1e-2),
    },
    "adam": {
        "learning_rate": (0.001, 0.003, 0.01, 0.03, 0.1),
        **BATCHES,
        "weight_decay": (0.0, 0.01, 0.1, 0.3),
    },
    "open-es": EVOLUTION,
    "pgpe": EVOLUTION,
}
START: dict[str, dict[str, Any]] = {
    "sgd": {"batch_size": (128,)},
    "adam": {"batch_size": (128,)},
    "open-es": {"batch_size": (128,), "sigma": 0.1, "population": POPULATION},
    "pgpe": {"batch_size": (128,), "sigma": 0.1, "population": POPULATION},
}


class Length(NamedTuple):
    """Of the runs on a data set."""

    model: str
    epochs: int
    """Of a gradient method."""
    generations: int
    """Epochs of an evolution strategy at a population of 64."""
    examples: int | None
    """Training images used; all if not given."""
    seeds: int


LENGTHS = {
    "digits": Length("mlp", 30, 100, None, 3),
    "mnist": Length("paper-mnist", 5, 1, 12800, 1),
    "fashion_mnist": Length("paper-mnist", 5, 1, 12800, 1),
    "cifar10": Length("paper-cifar10", 5, 1, 12800, 1),
}


@dataclass(frozen=True)
class Options:
    """Choose settings of a baseline on held-out training images."""

    dataset: Annotated[Literal["digits", "mnist", "fashion_mnist", "cifar10"], tyro.conf.Positional]
    """Data set."""
    optimizer: Annotated[Literal["sgd", "adam", "open-es", "pgpe"], tyro.conf.Positional]
    """Baseline."""
    data_dir: OptionalPath = None
    """Folder of prepared tensorflow-datasets; see `rso data list`."""


def main(options: Options) -> int:
    """Search setting by setting and write the choice."""
    path = tuning_file(options.dataset, options.optimizer)
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = json.loads(path.read_text())["grid"] if path.exists() else []
    best = dict(START[options.optimizer])
    with tempfile.TemporaryDirectory() as scratch:
        split = _split(options, Path(scratch))
        for name, values in GRIDS[options.optimizer].items():
            scores = {}
            for value in values:
                scores[value] = _score(options, best | {name: value}, split, grid)
                _write(path, options, grid, None)
            best[name] = max(scores, key=lambda value: scores[value])
    # Of equals the last, in which more is said.
    chosen = max(reversed(grid), key=lambda row: row["mean"])["settings"]
    _write(path, options, grid, chosen)
    print(f"chosen {chosen}, wrote {path}")
    return 0


def _write(
    path: Path, options: Options, grid: list[dict[str, Any]], chosen: dict[str, Any] | None
) -> None:
    """What is measured, and what is chosen once all is."""
    found = {
        "what": f"{options.optimizer} on {options.dataset}: accuracy on held-out training images",
        "grid": grid,
    }
    if chosen is not None:
        found["chosen"] = chosen
    replace_file(path, json.dumps(found, indent=2) + "\n")


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: v[0] if isinstance(v, tuple) else v for name, v in settings.items()}


def _split(options: Options, folder: Path) -> Path:
    data = load(options.dataset, options.data_dir)
    x, x_held, y, y_held = train_test_split(
        data.x_train, data.y_train, test_size=1 / 6, random_state=0, stratify=data.y_train
    )
    path = folder / "split.npz"
    np.savez(path, x_train=x, y_train=y, x_test=x_held, y_test=y_held)
    return path


def _score(
    options: Options, settings: dict[str, Any], split: Path, grid: list[dict[str, Any]]
) -> float:
    """Mean accuracy over the seeds, measured or known; what is measured goes into the grid."""
    length = LENGTHS[options.dataset]
    epochs, examples = _equal_evaluations(length, settings.get("population"))
    spent = {"epochs": epochs, "train_examples": examples}
    for row in grid:
        if row["settings"] == _plain(settings) and spent.items() <= row.items():
            return row["mean"]
    frozen = settings | {
        "dataset": str(split),
        "model": length.model,
        "optimizer": options.optimizer,
        "cycles": epochs,
        "score_every": epochs,
        "train_examples": examples,
    }
    scores = [_accuracy(frozen | {"seed": seed}) for seed in range(length.seeds)]
    mean = round(float(np.mean(scores)), 5)
    grid.append(
        {"settings": _plain(settings)} | spent | {"held_out_accuracy": scores, "mean": mean}
    )
    return mean


def _equal_evaluations(length: Length, population: int | None) -> tuple[int, int | None]:
    """Epochs and training images that cost as much for any population; None for a gradient."""
    if population is None:
        return length.epochs, length.examples
    epochs = max(1, length.generations * POPULATION // population)
    if population > POPULATION and length.examples:
        return epochs, length.examples * POPULATION // population
    return epochs, length.examples


def _accuracy(settings: Mapping[str, Any]) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        if status := run_settings(run, settings):
            sys.exit(status)
        return read_metrics(run)[-1]["test_accuracy"]


if __name__ == "__main__":
    keep_compiled_programs()
    try:
        sys.exit(main(tyro.cli(Options)))
    except UserError as error:
        sys.exit(f"error: {error}")
