"""The figure of what evaluations tell of slopes, from a file of ``cosine.py``."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from report.figures import new_figure
from report.sources import read_cosines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATASET, NETWORK = "mnist", "MNIST, 784-256-10"
"""Whose file is drawn, and what it is of."""
STATES = {"initial": "at initialisation", "trained": "after an epoch of SGD"}


class Style(NamedTuple):
    """How a way to learn slopes is drawn."""

    colour: str
    marker: str
    label: str
    beside: int
    """Evaluations of the point that the label stands by."""
    offset: tuple[float, float]
    """Of the label from its point, in points of type."""


STYLES = {
    "es": Style("#009E73", "D", "ES, normal", 512, (8, -18)),
    "spsa": Style("#E69F00", "^", "SPSA", 512, (8, -7)),
    "weights": Style("#0072B2", "o", "weight probes", 65537, (-80, 0)),
    "nodes": Style("#D55E00", "s", "node probes", 33, (12, -10)),
}


def cosine_figure() -> "Figure":
    """Cosine with the gradient against evaluations: mean and range over draws, and the law."""
    stored = read_cosines(DATASET)
    picture = new_figure(9, 3.8)
    panels = picture.subplots(1, len(STATES), sharey=True)
    for panel, (state, title) in zip(panels, STATES.items(), strict=True):
        _draw_laws(panel, stored["weights"], stored["columns"])
        for way in STYLES:
            points = [p for p in stored["points"] if (p["state"], p["way"]) == (state, way)]
            _draw_way(panel, STYLES[way], points)
        panel.set(xscale="log", yscale="log", xlim=(1.5, 4e5), ylim=(2e-3, 1.4))
        panel.set_xlabel("evaluations of the mini-batch")
        panel.set_title(f"{NETWORK}, {title}", fontsize=10, loc="left")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("cosine with the gradient")
    ticks = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
    panels[0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    for panel in panels:
        panel.minorticks_off()
    return picture


def _draw_laws(panel: Any, weights: int, columns: int) -> None:
    """1 / sqrt(1 + d / K), of a number from each pair, and of one for an image from each unit."""
    evaluations = np.geomspace(2, 4e5, 200)
    for dimensions, numbers in ((weights, evaluations / 2), (columns, evaluations)):
        cosines = 1 / np.sqrt(1 + dimensions / numbers)
        panel.plot(evaluations, cosines, color="#555555", linewidth=0.8, zorder=1)
    law = r"$1/\sqrt{1 + d/K}$"
    of_weights = f"{law}, K pairs\nd = {weights:,} weights"
    of_columns = f"{law}, K moves\nd = {columns:,} units"
    panel.text(6e3, 0.06, of_weights, color="#555555", fontsize=8, va="center")
    panel.text(1.9, 0.6, of_columns, color="#555555", fontsize=8, va="center")


def _draw_way(panel: Any, style: Style, points: list[dict[str, Any]]) -> None:
    x = np.array(sorted({p["evaluations"] for p in points}))
    drawn = np.array([[p["cosine"] for p in points if p["evaluations"] == n] for n in x])
    mean = drawn.mean(1)
    bounds = drawn.min(1).clip(1e-9), drawn.max(1).clip(1e-9)
    panel.fill_between(x, *bounds, color=style.colour, alpha=0.2, linewidth=0)
    panel.plot(x, mean.clip(1e-9), color=style.colour, marker=style.marker, markersize=4)
    by = int(np.argmin(abs(x - style.beside)))
    panel.annotate(
        style.label,
        (x[by], mean[by]),
        style.offset,
        textcoords="offset points",
        color=style.colour,
        fontsize=9,
    )
