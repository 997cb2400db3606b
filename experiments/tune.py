"""Settings of every method but the search, chosen on held-out training images.

A sixth of the training images (stratified, fixed) is scored in place of the test images, which are
never looked at. One setting after the other is varied, the best value kept: learning rate first (of
slopes with the step), then batch size and weight decay, or sigma and population of an evolution
strategy. Chosen is the best of all that was measured. Runs on digits, and those of slopes and
gradients on ``mnist_mlp``, are as long as the published ones; others are shorter, and see a part of
the training images. A value already measured is not measured again.

    python experiments/tune.py digits sgd
    python experiments/tune.py mnist_mlp slopes --data-dir DIR
"""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import evojax
import mnist_mlp
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

Choices = tuple[dict[str, Any], ...]
"""Settings to try in turn, each beside the best of all others so far."""


def vary(name: str, values: Sequence[Any], **others: Any) -> Choices:
    """The values of one setting, each with the same others."""
    return tuple(others | {name: value} for value in values)


BATCHES = vary("batch_size", ((16,), (32,), (64,), (128,), (256,)))
EVOLUTION = (
    vary("learning_rate", (0.003, 0.01, 0.03, 0.1, 0.3)),
    vary("sigma", (0.02, 0.05, 0.1, 0.2)),
    vary("population", (16, 64, 256, 1024)),
)
GRIDS: dict[str, tuple[Choices, ...]] = {
    "sgd": (
        vary("learning_rate", (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)),
        BATCHES,
        vary("weight_decay", (0.0, 1e-4, 1e-3, 1e-2)),
    ),
    "adam": (
        vary("learning_rate", (0.001, 0.003, 0.01, 0.03, 0.1)),
        BATCHES,
        vary("weight_decay", (0.0, 0.01, 0.1, 0.3)),
    ),
    "slopes": (
        (
            *vary("learning_rate", (0.1, 0.3, 1.0), step="sgd"),
            *vary("learning_rate", (0.001, 0.003, 0.01), step="adamw"),
            *vary("learning_rate", (0.001, 0.003, 0.01), step="adamw", weight_decay=0.3),
            *vary("learning_rate", (0.03, 0.1, 0.3), step="muon"),
        ),
        vary("batch_size", ((32,), (64,), (128,), (256,))),
        vary("eps", (0.005, 0.02, 0.1)),
    ),
    "open-es": EVOLUTION,
    "pgpe": EVOLUTION,
    "snes": (
        vary("sigma", (0.02, 0.05, 0.1, 0.2)),
        vary("learning_rate", (0.3, 1.0, 3.0)),
        vary("population", (16, 64, 256, 1024)),
    ),
    "spsa": (
        vary("learning_rate", (0.001, 0.003, 0.01, 0.03)),
        vary("sigma", (0.001, 0.01, 0.03)),
        vary("population", (4, 16, 64, 256)),
    ),
}
BATCH = {"batch_size": (128,)}
START: dict[str, dict[str, Any]] = {
    "sgd": BATCH,
    "adam": BATCH,
    "slopes": BATCH | {"momentum": 0.9, "eps": 0.02, "weight_decay": 0.0},
    "open-es": BATCH | {"sigma": 0.1, "population": POPULATION},
    "pgpe": BATCH | {"sigma": 0.1, "population": POPULATION},
    "snes": BATCH | {"learning_rate": 1.0, "population": POPULATION},
    "spsa": BATCH | {"sigma": 0.01, "population": POPULATION},
}


class Length(NamedTuple):
    """Of the runs of a task."""

    epochs: int
    """Of a gradient method."""
    slopes_epochs: int
    """Of slopes."""
    generations: int
    """Epochs of a method with a population, at one of 64."""
    examples: int | None
    """Training images used; all if not given."""
    seeds: int
    problem: dict[str, Any]
    """Data set and network, by the names of ``rso train``."""
    slopes: dict[str, Any] = {}  # noqa: RUF012 (never mutated)
    """What is not chosen of slopes."""
    whole: bool = False
    """Whether gradient methods and slopes see all training images, so that their runs are as long
    as the published ones."""
    steps: tuple[str, ...] = ("sgd", "adamw", "muon")
    """Tried of slopes."""
    evolution: dict[str, Any] = {}  # noqa: RUF012 (never mutated)
    """What is not chosen of a method with a population."""


PAPER = {"model": "paper-mnist"}
# The products of muon for 784 x 256 weights would cost several times what the slopes do.
CHEAP_STEPS = ("sgd", "adamw")
LENGTHS = {
    "digits": Length(30, 12, 100, None, 3, {"dataset": "digits", "model": "mlp"}),
    "mnist": Length(5, 1, 1, 12800, 1, {"dataset": "mnist"} | PAPER),
    "fashion_mnist": Length(5, 1, 1, 12800, 1, {"dataset": "fashion_mnist"} | PAPER),
    "cifar10": Length(5, 1, 1, 12800, 1, {"dataset": "cifar10", "model": "paper-cifar10"}),
    "mnist_mlp": Length(
        15,
        15,
        4,
        25600,
        1,
        mnist_mlp.DATA,
        whole=True,
        steps=CHEAP_STEPS,
        evolution=mnist_mlp.GENERATIONS,
    ),
    "evojax": Length(3, 1, 1, 12800, 1, evojax.DATA, {"batch_size": (64,)}),
}
"""By experiment."""


@dataclass(frozen=True)
class Options:
    """Choose settings of a method on held-out training images."""

    task: Annotated[
        Literal["digits", "mnist", "fashion_mnist", "cifar10", "mnist_mlp", "evojax"],
        tyro.conf.Positional,
    ]
    """Experiment."""
    optimizer: Annotated[
        Literal["slopes", "sgd", "adam", "open-es", "pgpe", "snes", "spsa"], tyro.conf.Positional
    ]
    """Method."""
    data_dir: OptionalPath = None
    """Folder of prepared tensorflow-datasets; see `rso data list`."""


def main(options: Options) -> int:
    """Search setting by setting and write the choice."""
    path = tuning_file(options.task, options.optimizer)
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = json.loads(path.read_text())["grid"] if path.exists() else []
    length = LENGTHS[options.task]
    fixed = {"slopes": length.slopes, "sgd": {}, "adam": {}}.get(
        options.optimizer, length.evolution
    )
    best = START[options.optimizer] | fixed
    with tempfile.TemporaryDirectory() as scratch:
        split = _split(options, Path(scratch))
        for choices in GRIDS[options.optimizer]:
            if fixed.keys() & choices[0].keys():
                continue
            scores = []
            choices = tuple(c for c in choices if c.get("step", "sgd") in length.steps)
            for choice in choices:
                scores.append(_score(options, best | choice, split, grid))
                _write(path, options, grid, None)
            best |= choices[int(np.argmax(scores))]
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
        "what": f"{options.optimizer} on {options.task}: accuracy on held-out training images",
        "grid": grid,
    }
    if chosen is not None:
        found["chosen"] = chosen
    replace_file(path, json.dumps(found, indent=2) + "\n")


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: v[0] if isinstance(v, tuple) else v for name, v in settings.items()}


def _split(options: Options, folder: Path) -> Path:
    data = load(LENGTHS[options.task].problem["dataset"], options.data_dir)
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
    length = LENGTHS[options.task]
    epochs, examples = _equal_evaluations(length, settings.get("population"))
    epochs = length.slopes_epochs if options.optimizer == "slopes" else epochs
    spent = {"epochs": epochs, "train_examples": examples}
    for row in grid:
        if row["settings"] == _plain(settings) and spent.items() <= row.items():
            return row["mean"]
    frozen = (length.problem | settings) | {
        "dataset": str(split),
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
        return length.epochs, None if length.whole else length.examples
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
