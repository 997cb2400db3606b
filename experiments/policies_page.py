"""The table and the picture of ``docs/policies.md``, from the results of ``policies.py``.

python experiments/policies_page.py
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from rso_jax.files import replace_file

TOP = Path(__file__).parents[1]
RESULTS = TOP / "experiments" / "results" / "policies"
PAGE, PICTURE = TOP / "docs" / "policies.md", TOP / "docs" / "policies.png"
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
TITLES = {
    "cartpole": "CartPole",
    "acrobot": "Acrobot",
    "mountain-car": "Mountain car",
    "pendulum": "Pendulum",
}
STYLES = {
    "rso": ("RSO", "#0072B2", "o"),
    "slopes": ("slopes", "#000000", "*"),
    "open-es": ("Open_ES", "#009E73", "D"),
    "pgpe": ("PGPE", "#CC79A7", "v"),
}
"""Label, colour and marker; colours are told apart by readers with any colour vision."""


def main() -> int:
    """Write the table into the page and draw the picture."""
    found = read_results()
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    replace_file(PAGE, f"{before}{BEGIN}\n{table(found)}\n{END}{after}")
    draw(found).savefig(PICTURE, metadata={"Software": None})
    return 0


def read_results() -> dict[str, dict[str, Any]]:
    """The results of every method, by environment, as far as there are some."""
    found: dict[str, dict[str, Any]] = {}
    for problem in TITLES:
        paths = {method: RESULTS / problem / f"{method}.json" for method in STYLES}
        there = {m: json.loads(path.read_text()) for m, path in paths.items() if path.exists()}
        if there:
            found[problem] = there
    return found


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """A row for each method in each environment."""
    rows = [
        "| environment | method | solved | steps until solved, mean (lowest to highest) "
        "| return at the end, mean (lowest to highest) | settings chosen |",
        "|---|---|---|---|---|---|",
    ]
    for problem, methods in found.items():
        for method, result in methods.items():
            runs = result["runs"]
            ends = [float(course(run, np.array(result["budget"]))) for run in runs]
            settings = ", ".join(f"{name}={value}" for name, value in result["settings"].items())
            label = STYLES[method][0]
            title = f"{TITLES[problem]}, {result['budget']:,} steps"
            cells = (title, label, *solved(result), spread(ends, ".0f"), f"`{settings}`")
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def solved(result: Mapping[str, Any]) -> tuple[str, str]:
    """How many runs solved it, and after how many steps; one that did not counts as the budget."""
    if result["threshold"] is None:
        return "", ""
    at = [run["solved_at"] for run in result["runs"]]
    steps = [result["budget"] if one is None else one for one in at]
    within = sum(one is not None for one in at)
    more = "" if within == len(at) else "at least "
    return f"{within} of {len(at)}", more + spread(steps, ",.0f")


def spread(values: Sequence[float], form: str) -> str:
    """Mean and range."""
    mean, low, high = (format(f(values), form) for f in (np.mean, np.min, np.max))
    return f"**{mean}** ({low} to {high})"


def draw(found: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Held-out return against environment steps, a panel for each environment."""
    figure = Figure(figsize=(1.2 + 4.3 * len(found), 3.6), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for panel, (problem, methods) in zip(panels, found.items(), strict=True):
        for method, result in methods.items():
            draw_runs(panel, method, result)
        threshold = next(iter(methods.values()))["threshold"]
        if threshold is not None:
            panel.axhline(threshold, color="#999999", linestyle=":", linewidth=1)
        panel.set_title(TITLES[problem], fontsize=10)
        panel.set_xlabel("environment steps")
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("return of held-out episodes")
    panels[0].legend(loc="lower right", fontsize=8)
    return figure


def draw_runs(panel: Any, method: str, result: Mapping[str, Any]) -> None:
    """The mean of the runs and their range, at equal environment steps."""
    label, colour, marker = STYLES[method]
    steps = np.linspace(0, result["budget"], 101)[1:]
    courses = np.array([course(run, steps) for run in result["runs"]])
    panel.fill_between(steps, courses.min(0), courses.max(0), color=colour, alpha=0.15, linewidth=0)
    panel.plot(steps, courses.mean(0), color=colour, marker=marker, markevery=10, label=label)


def course(run: Mapping[str, Any], steps: np.ndarray) -> np.ndarray:
    """The newest score at each number of steps, and before there is one the first."""
    newest = np.searchsorted(run["environment_steps"], steps, side="right") - 1
    scores: np.ndarray = np.array(run["mean_return"])[np.maximum(newest, 0)]
    return scores


if __name__ == "__main__":
    sys.exit(main())
