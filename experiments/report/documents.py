"""Which documents show what, and whether they are up to date."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import policies_page
from tabular_tables import errors_table, objectives_table

from report.characters import EXPERIMENT, characters_figure, characters_table
from report.cosines import DATASET, cosine_figure
from report.courses import accelerator_table, courses_table
from report.device import device_tables
from report.discrete import discrete_table, few_table
from report.figures import accepted_figure, filters_figure, runs_figure, variants_figure
from report.front import front_table
from report.leaderboard import overview_table, task_tables
from report.local_ablations import ablated_readouts_table, ablations_table, ceilings_table
from report.names import TITLES
from report.prose import unfounded
from report.sources import has_cosines, read_runs
from report.tables import (
    SPECTRAL,
    cliffs_table,
    cost_table,
    leaf_order_table,
    local_cost_table,
    local_tables,
    readouts_table,
    runs_table,
    study_table,
    study_tables,
)
from report.when import when_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOP = Path(__file__).parents[2]
PICTURES = TOP / "docs"
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
LOWEST = {"mnist_mlp": 90.0, "evojax": 90.0, "mnist": 80.0, "fashion_mnist": 60.0, "cifar10": 10.0}
"""Test accuracy, in percent, at the foot of a picture."""
WITH_PICTURE = ("mnist_mlp", "evojax")
"""Experiments whose picture stands below their table as soon as there is one."""
UNLIKE = 1e-4
"""Share of pixels in which two drawings of the same results may differ."""


def main(check: bool) -> int:
    """Write the results into the documents and draw the figures, or compare; an exit status."""
    texts, pictures = documents(), figures()
    old = outdated(texts, pictures) if check else []
    if old:
        names = ", ".join(str(path.relative_to(TOP)) for path in old)
        print(f"{names} out of date; run python experiments/report", file=sys.stderr)
    if not check:
        for document, text in texts.items():
            document.write_text(text)
        for picture, draw in pictures.items():
            draw().savefig(picture, metadata={"Software": None})
    wrong = unfounded()
    for line in wrong:
        print(line, file=sys.stderr)
    return int(bool(old or wrong))


def documents() -> dict[Path, str]:
    """What the result files make of each document."""
    runs = {name: runs_table(name) for name in TITLES}
    for name in WITH_PICTURE:
        if any(read_runs(name).values()):
            runs[name] += f"\n\n![Test accuracy against what it cost](../docs/{name}.png)"
    results = {
        TOP / "README.md": (front_table(),),
        TOP / "docs" / "incremental.md": (cost_table(), cliffs_table()),
        TOP / "docs" / "black_boxes.md": device_tables(),
        TOP / "docs" / "devices.md": (accelerator_table(),),
        TOP / "docs" / "discrete.md": (discrete_table(), few_table()),
        TOP / "docs" / "local_losses.md": (
            local_cost_table(),
            local_tables(),
            courses_table(),
            readouts_table(),
            ablations_table(),
            ablated_readouts_table(),
            ceilings_table(),
        ),
        TOP / "docs" / "losses.md": (errors_table(), objectives_table()),
        TOP / "docs" / "paper.md": (runs["digits"], runs["mnist"]),
        TOP / "docs" / "policies.md": (policies_page.table(policies_page.read_results()),),
        TOP / "docs" / "search.md": (study_tables("search_variants"),),
        TOP / "docs" / "slopes.md": (leaf_order_table(),),
        TOP / "docs" / "spectral.md": (study_table("search_variants", "mnist", SPECTRAL),),
        TOP / "docs" / "when.md": (when_table(),),
        TOP / "experiments" / "README.md": (*runs.values(), study_tables("ablations")),
        TOP / "experiments" / "leaderboard.md": (
            overview_table(),
            task_tables(),
            characters_table(),
        ),
    }
    return {path: _with_results(path.read_text(), *tables) for path, tables in results.items()}


def _with_results(text: str, *results: str) -> str:
    """The text of a document with its results, in order of appearance, replaced."""
    first, *rest = text.split(BEGIN)
    parts = [part.partition(END)[2] for part in rest]
    blocks = [
        f"{BEGIN}\n{result}\n{END}{after}" for result, after in zip(results, parts, strict=True)
    ]
    return first + "".join(blocks)


def figures() -> dict[Path, "Callable[[], Figure]"]:
    """What draws each picture, as far as there are results."""
    drawn: dict[str, Callable[[], Figure]] = {
        "digits": partial(
            runs_figure, "digits", lowest=88, axes=("updates_per_weight", "image_evaluations")
        ),
        "search_variants": partial(variants_figure, "mnist"),
    }
    if has_cosines(DATASET):
        drawn["cosine"] = cosine_figure
    if any(read_runs(EXPERIMENT).values()):
        drawn[EXPERIMENT] = characters_figure
    for name, lowest in LOWEST.items():
        runs = read_runs(name)
        if any(runs.values()):
            drawn[name] = partial(runs_figure, name, lowest=lowest)
        if runs.get("rso"):
            drawn[f"{name}_accepted"] = partial(accepted_figure, name, "rso")
            drawn[f"{name}_filters"] = partial(filters_figure, name, "rso")
    return {PICTURES / f"{name}.png": draw for name, draw in drawn.items()}


def outdated(texts: dict[Path, str], pictures: dict[Path, "Callable[[], Figure]"]) -> list[Path]:
    """Documents and pictures that are not what the result files make them."""
    old = [document for document, text in texts.items() if text != document.read_text()]
    return old + [
        picture
        for picture, draw in pictures.items()
        if not picture.exists() or not _same_picture(picture, draw())
    ]


def _same_picture(path: Path, figure: "Figure") -> bool:
    """Whether a file shows the figure, up to the rounding of another machine."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.image import imread

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn, stored = np.asarray(canvas.buffer_rgba()) / np.float32(255), imread(path)
    if drawn.shape != stored.shape:
        return False
    return float((abs(drawn - stored).max(-1) > 0.1).mean()) < UNLIKE
