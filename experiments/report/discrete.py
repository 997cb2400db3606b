"""The tables of ``discrete.py`` and ``few_examples.py``: networks that take few values."""

import json
from typing import Any, NamedTuple

import numpy as np
from frozen import RESULTS

from report.sources import Run, at_the_end, read_runs
from report.tables import as_table, machines_of, say_accuracy, say_millions, say_seconds

EXPERIMENT = "discrete"


class Row(NamedTuple):
    """A network and a way to train it."""

    network: str
    method: str


STRAIGHT = "Adam, straight-through gradients"
ROWS = {
    "sign-1-slopes": Row("784-256-10, signs", "slopes"),
    "sign-1-gradients": Row("784-256-10, signs", STRAIGHT),
    "sign-1-open-es": Row("784-256-10, signs", "Open_ES"),
    "sign-3-heads-slopes": Row("784-200-200-200-10, signs, heads", "slopes, local losses"),
    "sign-3-heads-gradients": Row("784-200-200-200-10, signs, heads", STRAIGHT),
    "sign-3-gradients": Row("784-200-200-200-10, signs", STRAIGHT),
    "sign-conv-heads-slopes": Row("the paper's, signs, heads", "slopes, local losses"),
    "sign-conv-heads-gradients": Row("the paper's, signs, heads", STRAIGHT),
    "ternary-heads-slopes": Row("the paper's, ternary weights, heads", "slopes, local losses"),
    "ternary-heads-gradients": Row("the paper's, ternary weights, heads", STRAIGHT),
    "binary-heads-slopes": Row("the paper's, binary weights, heads", "slopes, local losses"),
    "binary-heads-gradients": Row("the paper's, binary weights, heads", STRAIGHT),
    "int8-slopes": Row("784-256-10, 8 bits", "slopes"),
    "int8-gradients": Row("784-256-10, 8 bits", STRAIGHT),
    "float-slopes": Row("784-256-10, 32-bit numbers", "slopes"),
}
"""By name of the run."""


def discrete_table() -> str:
    """A row per run: the last cycle, mean over seeds; empty where nothing ran yet."""
    found = read_runs(EXPERIMENT)
    columns = (
        *("network", "method", "test accuracy", "training seconds", "image evaluations"),
        *("settings chosen", "ran on"),
    )
    rows = [
        (*row, *(_cells(found[name]) if found.get(name) else ("not run yet", "", "", "", "")))
        for name, row in ROWS.items()
    ]
    return as_table(columns, rows)


def _cells(runs: list[Run]) -> tuple[str, ...]:
    last, settings = runs[0].lines[-1], runs[0].config["settings"]
    named = ("learning_rate", "eps", "window", "sigma")
    said = [f"{name} {settings[name]:g}" for name in named if settings.get(name) is not None]
    return (
        say_accuracy(100 * at_the_end(runs, "test_accuracy")),
        say_seconds(float(np.median(at_the_end(runs, "seconds")))),
        say_millions(last["image_evaluations"]),
        ", ".join(said),
        ", ".join(sorted(set().union(*map(machines_of, runs)))),
    )


def few_table() -> str:
    """Test accuracy from few images of each class: mean and range over training sets."""
    path = RESULTS / "few_examples.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    columns = ("images a class", "weights", "method", "test accuracy", "seconds a set", "chosen")
    return as_table(columns, [_few(row) for row in rows])


def few_accuracy(method: str, size: int) -> str:
    """Mean accuracy of ternary networks from so many images of each class."""
    path = RESULTS / "few_examples.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    for row in rows:
        if (row["method"], row["weights"], row["images_per_class"]) == (method, "ternary", size):
            return f"{100 * row['test_accuracy']:.1f} %"
    return "not run yet"


def _few(row: dict[str, Any]) -> tuple[str, ...]:
    window = row["chosen"]["window"]
    chosen = f"rate {row['chosen']['learning_rate']:g}"
    titles = {
        "slopes": "slopes, local losses",
        "gradients": f"{STRAIGHT}, heads",
        "gradients-plain": STRAIGHT,
    }
    return (
        str(row["images_per_class"]),
        row["weights"],
        titles[row["method"]],
        say_accuracy(100 * np.array(row["accuracies"]), "sets"),
        f"{np.median(row['seconds']):.1f}",
        chosen if window is None else f"{chosen}, window {window:g}",
    )
