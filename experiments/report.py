"""Tables and figures of the README, from the files under ``experiments/results``.

    python experiments/report.py           # write them
    python experiments/report.py --check   # exit status 1 if they are out of date

Nothing is typed by hand between the ``<!-- results -->`` marks of the README.
"""

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
FIGURE = HERE.parent / "docs" / "digits.png"
RESULTS = HERE / "results"
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
LABELS = {"rso": "RSO, preset `authors_code`", "sgd": "SGD, momentum, cosine schedule"}
# One colour and one marker per method, told apart by readers with any colour vision.
STYLES = {"rso": ("#0072B2", "o"), "sgd": ("#D55E00", "s")}

Lines = list[dict]


def read_runs(experiment: str) -> dict[str, list[Lines]]:
    """metrics.jsonl of every seed, by name of the run."""
    runs: dict[str, list[Lines]] = {}
    for folder in sorted((RESULTS / experiment).glob("*-seed*")):
        name = folder.name.rpartition("-seed")[0]
        text = (folder / "metrics.jsonl").read_text()
        runs.setdefault(name, []).append([json.loads(line) for line in text.splitlines()])
    return runs


def table(runs: dict[str, list[Lines]]) -> str:
    """A row per method: the last cycle, over seeds."""
    rows = [
        "| digits, 4,884 weights | test accuracy, mean (lowest to highest) "
        "| updates of each weight | image evaluations | training seconds |",
        "|---|---|---|---|---|",
    ]
    for name, seeds in runs.items():
        last = [lines[-1] for lines in seeds]
        accuracy = [100 * line["test_accuracy"] for line in last]
        rows.append(
            f"| {LABELS[name]}, {last[0]['cycle']} {'cycles' if name == 'rso' else 'epochs'} "
            f"| **{np.mean(accuracy):.2f} %** ({min(accuracy):.2f} to {max(accuracy):.2f}), "
            f"{len(seeds)} seeds "
            f"| {last[0]['updates_per_weight']:,.0f} "
            f"| {last[0]['image_evaluations'] / 1e6:,.1f} million "
            f"| {np.median([line['seconds'] for line in last]):.1f} |"
        )
    return "\n".join(rows)


def figure(runs: dict[str, list[Lines]], out: Path) -> None:
    """Mean test accuracy with the range over seeds, against updates and against evaluations."""
    from matplotlib.figure import Figure

    picture = Figure(figsize=(9, 3.4), layout="constrained")
    panels = picture.subplots(1, 2, sharey=True)
    axes = {
        "updates_per_weight": "updates of each weight",
        "image_evaluations": "image evaluations (a gradient counts 3)",
    }
    for panel, (quantity, title) in zip(panels, axes.items(), strict=True):
        for name, seeds in runs.items():
            x = [line[quantity] for line in seeds[0]]
            y = 100 * np.array([[line["test_accuracy"] for line in lines] for lines in seeds])
            colour, marker = STYLES[name]
            panel.fill_between(x, y.min(0), y.max(0), color=colour, alpha=0.2, linewidth=0)
            panel.plot(
                x,
                y.mean(0),
                color=colour,
                marker=marker,
                markersize=4,
                label=LABELS[name].replace("`", ""),
            )
        panel.set_xscale("log")
        panel.set_xlabel(title)
        panel.grid(alpha=0.3)
    panels[0].set_ylim(80, 100)
    panels[0].set_ylabel("test accuracy (%)")
    panels[1].legend(loc="lower left", fontsize=9)
    picture.savefig(out, dpi=150, metadata={"Software": None})


def readme_with(results: str) -> str:
    """The README with its results replaced."""
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{results}\n{END}{after}"


def main(check: bool) -> int:
    """Write the README's results and its figure, or compare."""
    runs = read_runs("digits")
    text = readme_with(table(runs))
    if check:
        if text != README.read_text():
            print("README.md is out of date; run python experiments/report.py", file=sys.stderr)
            return 1
        return 0
    README.write_text(text)
    FIGURE.parent.mkdir(exist_ok=True)
    figure(runs, FIGURE)
    return 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
