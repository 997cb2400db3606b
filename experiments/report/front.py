"""The first table: what comes out without gradients, in which time, beside SGD and Open_ES."""

from collections.abc import Sequence

import numpy as np

from report.names import LABELS, TITLES
from report.sources import Run, at_the_end, read_runs
from report.tables import as_table, machines_of, say_seconds

ROWS = (
    ("digits", "slopes"),
    ("mnist_mlp", "slopes"),
    ("evojax", "slopes"),
    ("mnist", "local-short"),
    ("mnist", "local"),
    ("mnist", "local-half-hour-shifted"),
    ("fashion_mnist", "local"),
    ("cifar10", "local"),
    ("cifar10", "local-evening"),
)
"""Experiment, and the run that stands for it."""
BESIDE = ("sgd", "open-es")


def front_table() -> str:
    """A row for each task: accuracy and seconds of training without gradients and with them."""
    columns = ["data and network", "without gradients", "test accuracy", "seconds"]
    for name in BESIDE:
        columns += [LABELS[name], "seconds"]
    rows = []
    for experiment, name in ROWS:
        runs = read_runs(experiment)
        if runs.get(name):
            beside = [cell for other in BESIDE for cell in _cells(runs.get(other, ()))]
            rows.append((TITLES[experiment], LABELS[name], *_cells(runs[name], "**"), *beside))
    return as_table(columns, rows)


def _cells(runs: Sequence[Run], mark: str = "") -> tuple[str, str]:
    """Mean accuracy at the end, and the median of the seconds; empty where nothing ran."""
    if not runs:
        return "", ""
    accuracy = 100 * float(np.mean(at_the_end(runs, "test_accuracy")))
    seconds = say_seconds(float(np.median(at_the_end(runs, "seconds"))))
    cores = ", ".join(sorted(set().union(*map(machines_of, runs)))).replace(" CPU", "")
    return f"{mark}{accuracy:.2f} %{mark}", f"{seconds}, {cores}"
