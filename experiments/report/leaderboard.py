"""The leaderboard: every task against every method, at equal evaluations and at equal seconds."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from report.names import LABELS, TITLES
from report.sources import Run, Runs, at_the_end, read_runs
from report.tables import as_table, machines_of, say_length, say_millions, say_seconds

METHODS = {
    "slopes": (
        *("slopes", "slopes-quarter", "local-evening", "local-half-hour", "local"),
        *("local-short", "local-long", "local-wide", "local-global"),
        "spectral",
    ),
    "RSO": ("rso", "rso-heads", "rso-heads-5", "rso-paper"),
    "Open_ES": ("open-es",),
    "PGPE": ("pgpe",),
    "SNES": ("snes",),
    "SPSA": ("spsa",),
    "SGD": ("sgd", "sgd-128"),
    "Adam": ("adam", "adam-10", "adam-heads"),
}
"""Names of its runs, by method; the first that there is stands for it."""
ORDER = [name for names in METHODS.values() for name in names]
GRADIENTS = ("sgd", "sgd-128", "adam", "adam-10", "adam-heads")
EVALUATIONS = (1e6, 1e7, 1e8)
"""Budgets in image evaluations."""
SECONDS = (1, 10, 60, 600)
"""Budgets in seconds of training."""
NOT_YET = "–"


class Task(NamedTuple):
    """Data and a network."""

    experiment: str
    """Its script."""
    ending: str = ""
    """Of the names of the runs that are of this task."""
    also: str = ""
    """What that means."""

    @property
    def title(self) -> str:
        """Data, network and what else there is to say."""
        return f"{TITLES[self.experiment]}{self.also and f', {self.also}'}"

    def runs(self) -> Runs:
        """By name without the ending, in the order of the methods."""
        endings = [task.ending for task in TASKS if task.experiment == self.experiment]
        of_task = {
            name.removesuffix(self.ending): runs
            for name, runs in read_runs(self.experiment).items()
            if self.ending == max((e for e in endings if name.endswith(e)), key=len)
        }
        return {name: of_task[name] for name in sorted(of_task, key=ORDER.index)}


TASKS = (
    Task("digits"),
    Task("mnist_mlp"),
    Task("mnist_mlp", "-shifted", "images shifted"),
    Task("evojax"),
    Task("mnist"),
    Task("mnist", "-shifted", "images shifted"),
    Task("fashion_mnist"),
    Task("cifar10"),
    Task("cifar10", "-part", "5,000 images"),
)


def overview_table() -> str:
    """A row for each task: what every method ends at, the best without gradients in bold."""
    return as_table(("final test accuracy, %", *METHODS), [_overview_row(task) for task in TASKS])


def _overview_row(task: Task) -> tuple[str, ...]:
    runs, cells = task.runs(), []
    standing = [next((n for n in names if runs.get(n)), None) for names in METHODS.values()]
    marked = _mark_best({name: [_percent(runs[name])] for name in standing if name})
    for name, (usual, *_) in zip(standing, METHODS.values(), strict=True):
        note = f" (`{name}`)" if name != usual else ""
        cells.append(marked[name][0] + note if name else "")
    return task.title, *cells


def task_tables() -> str:
    """For each task a heading, and a row for each method that its script names."""
    return "\n\n".join(f"### {task.title}\n\n{_task_table(task)}" for task in TASKS)


def _task_table(task: Task) -> str:
    columns = (
        "test accuracy, %",
        *(f"{budget / 1e6:.0f} million" for budget in EVALUATIONS),
        *(f"{budget} s" for budget in SECONDS),
        "at the end",
        "image evaluations",
        "training seconds",
        "ran on",
    )
    runs = task.runs()
    marked = _mark_best({name: _accuracies(found) for name, found in runs.items() if found})
    blank = [""] * (len(columns) - 1)
    rows = [
        (f"{_label(name, task)}, {say_length(found[0])}", *marked[name], *_costs(found))
        if found
        else (_label(name, task), *blank)
        for name, found in runs.items()
    ]
    return as_table(columns, rows)


def _costs(runs: Sequence[Run]) -> tuple[str, ...]:
    return (
        say_millions(runs[0].lines[-1]["image_evaluations"]),
        say_seconds(float(np.median(at_the_end(runs, "seconds")))),
        ", ".join(sorted(set().union(*map(machines_of, runs)))),
    )


def _mark_best(accuracies: Mapping[str, Sequence[float | None]]) -> dict[str, list[str]]:
    """Cells of the rows by name of the run, in each column the best without gradients in bold."""
    others = [row for name, row in accuracies.items() if name not in GRADIENTS]
    best = [
        max((x for x in column if x is not None), default=None)
        for column in zip(*others, strict=True)
    ]

    def cell(name: str, column: int, accuracy: float | None) -> str:
        if accuracy is None:
            return NOT_YET
        is_best = name not in GRADIENTS and accuracy == best[column]
        return f"**{accuracy:.2f}**" if is_best else f"{accuracy:.2f}"

    return {
        name: [cell(name, column, x) for column, x in enumerate(row)]
        for name, row in accuracies.items()
    }


def _label(name: str, task: Task) -> str:
    return LABELS[name + task.ending].removesuffix(f", {task.also}")


def _accuracies(runs: Sequence[Run]) -> list[float | None]:
    """At every budget, and at the end."""
    return [
        *(accuracy_within(runs, "image_evaluations", budget) for budget in EVALUATIONS),
        *(accuracy_within(runs, "seconds", budget) for budget in SECONDS),
        _percent(runs),
    ]


def accuracy_within(runs: Sequence[Run], quantity: str, budget: float) -> float | None:
    """Percent after the last cycle scored within a budget; None if a seed has none."""
    last = [[line for line in run.lines if line[quantity] <= budget][-1:] for run in runs]
    if not all(last):
        return None
    return 100 * float(np.mean([line["test_accuracy"] for (line,) in last]))


def _percent(runs: Sequence[Run]) -> float:
    return 100 * float(np.mean(at_the_end(runs, "test_accuracy")))
