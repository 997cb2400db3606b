"""Tables and figures of the experiments that ``rso train`` runs make up."""

import importlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from frozen import RESULTS, UNFINISHED

from rso_jax.training.run_folder import METRICS, read_config, read_metrics

LABELS = {
    "rso": "RSO, `authors_code`",
    "rso-part": "RSO, `authors_code`, 5,000 images",
    "rso-paper": "RSO, `authors_code`, at the paper's size",
    "spectral": "RSO, `spectral`",
    "sgd": "SGD with momentum",
    "sgd-part": "SGD with momentum, 5,000 images",
    "adam": "Adam",
    "open-es": "Open_ES",
    "pgpe": "PGPE",
}
# One colour and one marker per method, told apart by readers with any colour vision.
STYLES = {
    "rso": ("#0072B2", "o"),
    "rso-part": ("#0072B2", "o"),
    "rso-paper": ("#000000", "X"),
    "spectral": ("#56B4E9", "P"),
    "sgd": ("#D55E00", "s"),
    "sgd-part": ("#CC79A7", "s"),
    "adam": ("#E69F00", "^"),
    "open-es": ("#009E73", "D"),
    "pgpe": ("#CC79A7", "v"),
}
AXES = {
    "updates_per_weight": "updates of each weight",
    "image_evaluations": "image evaluations (a gradient counts 3)",
    "seconds": "training seconds",
}


class Run(NamedTuple):
    """What a run left."""

    config: dict[str, Any]
    lines: list[dict[str, Any]]
    """Of metrics.jsonl."""
    folder: Path


def read_runs(experiment: str) -> dict[str, list[Run]]:
    """The runs of every seed by name, in the order of the experiment's settings.

    Where none is complete, those that are unfinished.
    """
    names = importlib.import_module(experiment).RUNS
    return {
        name: _seeds(RESULTS / experiment, name) or _seeds(UNFINISHED / experiment, name)
        for name in names
    }


def _seeds(experiment: Path, name: str) -> list[Run]:
    return [
        Run(read_config(metrics.parent), read_metrics(metrics.parent), metrics.parent)
        for metrics in sorted(experiment.glob(f"{name}-seed[0-9]*/{METRICS}"))
    ]


def runs_table(experiment: str, title: str) -> str:
    """A row per method: the last cycle, over seeds; empty where nothing ran yet."""
    rows = [
        f"| {title} | test accuracy, mean (lowest to highest) | best, selected on the test set "
        "| updates of each weight | image evaluations | training seconds | ran on |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, runs in read_runs(experiment).items():
        rows.append(_row(name, runs) if runs else f"| {LABELS[name]} | | | | | | |")
    return "\n".join(rows)


def _row(name: str, runs: list[Run]) -> str:
    config, last = runs[0].config, [run.lines[-1] for run in runs]
    settings = config["settings"]
    final = [100 * line["test_accuracy"] for line in last]
    best = [100 * max(line["test_accuracy"] for line in run.lines) for run in runs]
    unit = "cycles" if settings["optimizer"] == "rso" else "epochs"
    if settings["cycles"] == 1:
        unit = unit[:-1]
    done = last[0]["cycle"]
    length = settings["cycles"] if done == settings["cycles"] else f"{done} of {settings['cycles']}"
    spread = f" ({min(final):.2f} to {max(final):.2f}), {len(runs)} seeds" if runs[1:] else ""
    return (
        f"| {LABELS[name]}, {length} {unit}, batch {settings['batch_size']} "
        f"| **{np.mean(final):.2f} %**{spread} | {np.mean(best):.2f} % "
        f"| {last[0]['updates_per_weight']:,.0f} | {_millions(last[0]['image_evaluations'])} "
        f"| {_seconds(float(np.median([line['seconds'] for line in last])))} "
        f"| {', '.join(sorted(set().union(*map(_machines, runs))))} |"
    )


def _machines(run: Run) -> set[str]:
    """That it began on, and all that it went on on."""
    began = [run.config["hardware"]]
    return {
        f"{hardware['cpu_cores']} CPU core{'s' * (hardware['cpu_cores'] > 1)}"
        if hardware["platform"] == "cpu"
        else f"{hardware['devices']} x {hardware['device']}"
        for hardware in began + [part["hardware"] for part in run.config.get("resumed", [])]
    }


def _millions(number: float) -> str:
    return f"{number / 1e6:,.{1 if number < 1e8 else 0}f} million"


def _seconds(number: float) -> str:
    return f"{number:,.{1 if number < 100 else 0}f}"


def runs_figure(experiment: str, out: Path, lowest: float, axes: tuple[str, ...]) -> None:
    """Mean test accuracy with the range over seeds, against what it cost.

    Args:
        experiment: name of its script.
        out: picture to write.
        lowest: test accuracy at the foot of the picture, in percent.
        axes: keys of ``AXES``.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    picture = Figure(figsize=(4.5 * len(axes), 3.8), layout="constrained")
    panels = picture.subplots(1, len(axes), sharey=True)
    for panel, quantity in zip(panels, axes, strict=True):
        for name, runs in read_runs(experiment).items():
            if runs:
                _draw(panel, name, runs, quantity)
        panel.set_xscale("log")
        # Powers of ten alone leave a run of one decade without a number to read.
        low, high = panel.get_xlim()
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_xlabel(AXES[quantity])
        panel.grid(alpha=0.3)
    panels[0].set_ylim(lowest, 100)
    panels[0].set_ylabel("test accuracy (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=9)
    picture.savefig(out, dpi=150, metadata={"Software": None})


def _draw(panel: Any, name: str, runs: list[Run], quantity: str) -> None:
    common = min(len(run.lines) for run in runs)  # some seeds may not be complete
    lines = [run.lines[:common] for run in runs]
    x = np.mean([[line[quantity] for line in seed] for seed in lines], 0)
    y = 100 * np.array([[line["test_accuracy"] for line in seed] for seed in lines])
    colour, marker = STYLES[name]
    panel.fill_between(x, y.min(0), y.max(0), color=colour, alpha=0.2, linewidth=0)
    panel.plot(
        x,
        y.mean(0),
        color=colour,
        marker=marker,
        markersize=4,
        markevery=max(1, len(x) // 12),
        label=LABELS[name].replace("`", ""),
    )
