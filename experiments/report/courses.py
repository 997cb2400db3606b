"""The paper's search cycle by cycle, and what a cycle takes on which machine."""

from collections.abc import Sequence

import numpy as np

from report.names import LABELS
from report.sources import Run, read_benchmark, read_runs
from report.tables import as_table, machines_of, say_seconds

EXPERIMENT = "mnist"
SEARCHES = ("rso", "rso-paper", "rso-heads", "rso-heads-5")
CYCLES = (1, 2, 3, 5, 7, 10)
"""After which accuracy is shown."""
BENCHMARK = "accelerator"


def courses_table() -> str:
    """A row for each search of the paper's MNIST network: test accuracy after so many cycles."""
    columns = (
        "MNIST, %",
        *("after 1 cycle", *(f"{cycle}" for cycle in CYCLES[1:])),
        "seconds a cycle",
        "ran on",
    )
    runs = read_runs(EXPERIMENT)
    return as_table(columns, [_row(name, runs[name][0]) for name in SEARCHES if runs[name]])


def _row(name: str, run: Run) -> tuple[str, ...]:
    accuracy = {line["cycle"]: 100 * line["test_accuracy"] for line in run.lines}
    settings = run.config["settings"]
    return (
        f"{LABELS[name]}, batch {settings['batch_size']}, steps smaller over "
        f"{settings['cycles']} cycles",
        *(f"{accuracy[cycle]:.2f}" if cycle in accuracy else "" for cycle in CYCLES),
        say_seconds(seconds_a_cycle(run)),
        ", ".join(sorted(machines_of(run))),
    )


def seconds_a_cycle(run: Run) -> float:
    """The median of all cycles but the first, which compiles."""
    return float(np.median(np.diff([line["seconds"] for line in run.lines])))


def accelerator_table() -> str:
    """A row for each search that ran on an accelerator: what it counts, and its shares."""
    rows = read_benchmark(BENCHMARK)["rows"]
    copied = _only(rows, part="rates")["tb_per_second"]
    columns = (
        "network",
        "weights, heads with them",
        "seconds a cycle",
        "a weight, ms",
        "operations, TFLOP/s",
        "bytes, TB/s",
        f"share of what a copy moves ({copied} TB/s)",
    )
    found = []
    for name, heads in (("rso-paper", 0), ("rso-heads", 4)):
        run = read_runs(EXPERIMENT)[name][0]
        counted = _only(rows, part="counts", network="paper-mnist", heads=heads)
        seconds, weights = seconds_a_cycle(run), _weights(run)
        moved = counted["cycle_gb"] / 1e3 / seconds
        found.append(
            (
                LABELS[name],
                f"{weights:,}",
                f"{seconds:.1f}",
                f"{1e3 * seconds / weights:.2f}",
                f"{counted['cycle_gflop'] / 1e3 / seconds:.1f}",
                f"{moved:.2f}",
                f"{moved / copied:.0%}",
            )
        )
    return as_table(columns, found)


def _weights(run: Run) -> int:
    line = run.lines[-1]
    return round(line["weight_updates"] / line["updates_per_weight"])


def _only(rows: Sequence[dict], **wanted: object) -> dict:
    (found,) = (row for row in rows if wanted.items() <= row.items())
    return found
