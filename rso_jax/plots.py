"""Plots: learning curves of runs side by side."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rso_jax.errors import UserError
from rso_jax.tasks.task import in_words, is_share

# Okabe and Ito's palette, told apart by readers with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_AXES = (
    ("cycle", "cycles (epochs)"),
    ("updates_per_weight", "updates of each weight"),
    ("image_evaluations", "image evaluations"),
)


def plot_runs(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], out: Path, number: str = "test_accuracy"
) -> None:
    """A number of the score against cycles, updates of each weight and image evaluations.

    Args:
        runs: label of each run, and its lines of metrics.jsonl.
        out: picture to write; the ending gives the format (.png, .svg, .pdf).
        number: its name in those lines; of a task's, ``task.shown[0]`` is the foremost. In percent
            if it ends in ``accuracy``.

    Raises:
        UserError: no run has a completed cycle, one has no such number, or a format matplotlib does
            not know.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    runs = {label: lines for label, lines in runs.items() if lines}
    if not runs:
        raise UserError("nothing to plot: no run has completed a cycle")
    _check_all_have(number, runs)
    share = is_share(number)
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    panels = figure.subplots(1, len(_AXES), sharey=True)
    for panel, (quantity, title) in zip(panels, _AXES, strict=True):
        for i, (label, lines) in enumerate(runs.items()):
            panel.plot(
                [line[quantity] for line in lines],
                [_height(line[number], share) for line in lines],
                color=COLOURS[i % len(COLOURS)],
                marker=MARKERS[i % len(MARKERS)],
                markersize=4,
                label=label,
            )
        panel.set_xlabel(title)
        panel.grid(alpha=0.3)
        if quantity == "cycle":
            panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        else:
            panel.set_xscale("log")
    panels[0].set_ylabel(f"{in_words(number)}{' (%)' if share else ''}")
    panels[0].legend(loc="lower right" if share else "best", fontsize=8)
    if out.suffix.lstrip(".") not in figure.canvas.get_supported_filetypes():
        raise UserError(f"{out} has no ending of a picture format; use .png, .svg or .pdf")
    # Same input, same file: no date and no version in it.
    metadata = {"Software": None} if out.suffix == ".png" else None
    figure.savefig(out, dpi=150, metadata=metadata)


def _height(number: float | None, share: bool) -> float:
    """In the plot; a number that was not finite, null in the file, leaves a gap."""
    if number is None:
        return math.nan
    return 100 * number if share else number


def _check_all_have(number: str, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    for label, lines in runs.items():
        if any(number not in line for line in lines):
            common = set.intersection(*(_numbers_of(line) for ls in runs.values() for line in ls))
            others = f"; all runs have {', '.join(sorted(common))}" if common else ""
            raise UserError(
                f"{label} has no {number} in its metrics, so it cannot be plotted{others}"
            )


def _numbers_of(line: Mapping[str, Any]) -> set[str]:
    return {name for name, value in line.items() if isinstance(value, int | float)}
