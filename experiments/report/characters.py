"""The table and the figure of ``characters.py``, whose networks are measured by their loss."""

from typing import TYPE_CHECKING

import numpy as np

from report.figures import STYLES, new_figure
from report.names import LABELS
from report.sources import Run, at_the_end, courses, read_runs
from report.tables import as_table, machines_of, say_seconds
from rso_jax.training.run_folder import PARAMS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPERIMENT = "characters"


def characters_table() -> str:
    """A row per method: the last cycle, mean over seeds; empty where nothing ran yet."""
    found = read_runs(EXPERIMENT)
    weights = {weights_of(run) for runs in found.values() for run in runs}
    columns = (
        ", ".join(["A transformer on characters", *(f"{n:,} weights" for n in weights)]),
        "test loss, nats",
        "test accuracy of the next character",
        "tokens",
        "evaluations of a window",
        "training seconds",
        "ran on",
    )
    rows = [
        _row(name, runs) if runs else (LABELS[name], *[""] * (len(columns) - 1))
        for name, runs in found.items()
    ]
    return as_table(columns, rows)


def _row(name: str, runs: list[Run]) -> tuple[str, ...]:
    last = runs[0].lines[-1]
    return (
        f"{LABELS[name]}, {last['cycle']} cycles",
        f"{at_the_end(runs, 'test_loss').mean():.4f}",
        f"{100 * at_the_end(runs, 'test_accuracy').mean():.2f} %",
        f"{last['cycle'] * tokens_of_a_cycle(runs[0]):,}",
        f"{last['image_evaluations']:,}",
        say_seconds(float(np.median(at_the_end(runs, "seconds")))),
        ", ".join(sorted(set().union(*map(machines_of, runs)))),
    )


def tokens_of_a_cycle(run: Run) -> int:
    """Characters that a cycle's mini-batches hold."""
    settings = run.config["settings"]
    return settings["batches_per_cycle"] * settings["batch_size"] * settings["length"]


def weights_of(run: Run) -> int:
    """How many weights a run has trained."""
    with np.load(run.folder / PARAMS) as saved:
        return sum(saved[name].size for name in saved)


def characters_figure() -> "Figure":
    """Test loss against tokens, mean and range over seeds."""
    picture = new_figure(5.5, 3.6)
    panel = picture.subplots()
    for name, runs in read_runs(EXPERIMENT).items():
        if not runs:
            continue
        losses = courses(runs, "test_loss")
        tokens = tokens_of_a_cycle(runs[0]) * courses(runs, "cycle")[0] / 1000
        colour, marker = STYLES[name]
        panel.fill_between(
            tokens, losses.min(0), losses.max(0), color=colour, alpha=0.2, linewidth=0
        )
        label = f"{LABELS[name]}, {losses.mean(0)[-1]:.2f}"
        panel.plot(tokens, losses.mean(0), color=colour, marker=marker, label=label)
    panel.set(xlabel="tokens, thousands", ylabel="test loss (nats per character)")
    panel.set_xlim(0, None)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=9)
    return picture
