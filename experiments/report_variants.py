"""Tables and a figure of ``search_variants.py`` and ``ablations.py``, from their result files."""

import json
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results"
VARIANTS, ABLATIONS = RESULTS / "search_variants", RESULTS / "ablations"
TITLES = {"mnist": "MNIST, 3,768 weights", "digits": "digits, 2,452 weights"}
# Drawn with a colour and a marker of its own; the others stay in the background.
DRAWN = {
    "sequential": ("#0072B2", "o"),
    "sequential, a batch for a column": ("#56B4E9", "v"),
    "blocks of 16, parabola": ("#CC79A7", "D"),
    "leaves, differences": ("#009E73", "^"),
    "leaves, orthogonal": ("#D55E00", "s"),
    "leaves, orthogonal, batch x 4": ("#000000", "X"),
    "leaves, orthogonal, quarter": ("#E69F00", "P"),
}


SPECTRAL = (
    "leaves, orthogonal",
    "leaves, orthogonal, batch x 4",
    "leaves, orthogonal, quarter",
    "leaves, orthogonal, normal probes",
    "leaves, differences",
    "leaves, differences, quarter",
    "sequential",
)


def variants_tables() -> str:
    """A row for each variant, the best first."""
    return _tables(VARIANTS, "sequential")


def ablations_tables() -> str:
    """A row for each thing changed, the best first."""
    return _tables(ABLATIONS, "authors_code")


def _tables(results: Path, reference: str) -> str:
    measured = [dataset for dataset in TITLES if (results / dataset).exists()]
    return "\n\n".join(_table(results / dataset, reference) for dataset in measured)


def spectral_table() -> str:
    """Preset ``spectral`` and its near relations beside sequential search, on MNIST."""
    return _table(VARIANTS / "mnist", "sequential", SPECTRAL)


def _read(results: Path) -> dict[str, list[dict]]:
    """The runs of every variant, one for a seed."""
    runs: dict[str, list[dict]] = {}
    for file in sorted(results.glob("*.json")):
        run = json.loads(file.read_text())
        runs.setdefault(run["variant"], []).append(run)
    return runs


def last_points(results: Path) -> dict[str, list[dict]]:
    """What every seed of every variant came to: the last point of its curve.

    Args:
        results: folder of a data set.
    """
    return {name: [run["points"][-1] for run in runs] for name, runs in _read(results).items()}


def _accuracy(runs: list[dict]) -> np.ndarray:
    return 100 * np.array([run["points"][-1]["held_out_accuracy"] for run in runs])


def _table(results: Path, first: str, wanted: tuple[str, ...] = ()) -> str:
    runs = _read(results)
    reference = runs[first][0]["points"][-1]
    rows = [
        f"| {TITLES[results.name]} | held-out accuracy, mean (lowest to highest) "
        "| image evaluations | times fewer | rounds | times fewer |",
        "|---|---|---|---|---|---|",
    ]
    shown = [name for name in runs if name in wanted or not wanted]
    for name in sorted(shown, key=lambda name: -_accuracy(runs[name]).mean()):
        accuracy, last = _accuracy(runs[name]), runs[name][0]["points"][-1]
        rows.append(
            f"| {name} | **{accuracy.mean():.2f} %** ({accuracy.min():.2f} to "
            f"{accuracy.max():.2f}), {len(accuracy)} seed{'s' * (len(accuracy) > 1)} "
            f"| {last['image_evaluations'] / 1e6:.1f} million "
            f"| {reference['image_evaluations'] / last['image_evaluations']:.2f} "
            f"| {last['rounds']:,} | {reference['rounds'] / last['rounds']:.1f} |"
        )
    return "\n".join(rows)


def variants_figure(dataset: str, out: Path) -> None:
    """Held-out accuracy, mean and range over seeds, against evaluations and against rounds."""
    from matplotlib.figure import Figure

    runs = _read(VARIANTS / dataset)
    picture = Figure(figsize=(11, 3.8), layout="constrained")
    panels = picture.subplots(1, 2, sharey=True)
    for panel, quantity in zip(panels, ("image_evaluations", "rounds"), strict=True):
        for name, seeds in sorted(runs.items(), key=lambda item: -_accuracy(item[1]).mean()):
            common = min(len(run["points"]) for run in seeds)  # a race ends when all is spent
            points = [run["points"][:common] for run in seeds]
            x = [point[quantity] for point in points[0]]
            y = 100 * np.array([[p["held_out_accuracy"] for p in of_seed] for of_seed in points])
            colour, marker = DRAWN.get(name, ("#BBBBBB", None))
            label = name if name in DRAWN else None
            front = 2 if name in DRAWN else 1
            if name in DRAWN:
                panel.fill_between(x, y.min(0), y.max(0), color=colour, alpha=0.2, linewidth=0)
            panel.plot(
                x, y.mean(0), color=colour, marker=marker, markersize=3, label=label, zorder=front
            )
        panel.set_xscale("log")
        panel.grid(alpha=0.3)
    panels[0].set_xlabel("image evaluations")
    panels[1].set_xlabel("rounds: evaluations that wait for one another")
    panels[0].set_ylim(60, 98)
    panels[0].set_ylabel("held-out accuracy (%)")
    panels[0].set_title(TITLES[dataset], loc="left", fontsize=10)
    handles, labels = panels[0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside right center", fontsize=8)
    picture.savefig(out, dpi=150, metadata={"Software": None})
