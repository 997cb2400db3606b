"""Tables and figures of the documentation, from the files under ``experiments/results``.

    python experiments/report.py           # write them
    python experiments/report.py --check   # exit status 1 if they are out of date

Nothing is typed by hand between ``<!-- results -->`` marks.
"""

import json
import sys
from pathlib import Path

import numpy as np
from report_variants import spectral_table, variants_figure, variants_tables

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
COLUMN_PROGRAMS = HERE.parent / "docs" / "incremental.md"
SEARCH = HERE.parent / "docs" / "search.md"
SPECTRAL = HERE.parent / "docs" / "spectral.md"
FIGURE = HERE.parent / "docs" / "digits.png"
VARIANTS_FIGURE = HERE.parent / "docs" / "search_variants.png"
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


def cost_table() -> str:
    """A row per network: what a cycle costs by column programs and otherwise."""
    stored = json.loads((RESULTS / "benchmarks" / "candidate_cost.json").read_text())
    rows = [
        "| network | mini-batches | visits | separate forward passes | full passes, compiled sweep "
        "| activation caching | column programs | times faster | times fewer FLOPs | compilation |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, network in stored["networks"].items():
        total = network["summary"]
        seconds = total["cycle_seconds"]
        faster = [seconds[way] / seconds["column"] for way in ("forwards", "full", "cached")]
        rows.append(
            f"| {name} | {network['minibatches']} x {network['batch_size']} "
            f"| {total['visits']:,} | {seconds['forwards']:,.0f} s | {seconds['full']:,.0f} s "
            f"| {seconds['cached']:,.0f} s | **{seconds['column']:,.0f} s** "
            f"| {faster[0]:.1f}, {faster[1]:.1f}, {faster[2]:.1f} "
            f"| {total['times_fewer_flops_than_full']:,.1f} | {total['compile_seconds']:.0f} s |"
        )
    hardware, rate = stored["hardware"], stored["matrix_gflops"]
    mnist = stored["networks"]["paper-mnist"]["summary"]
    return "\n".join(
        [
            *rows,
            "",
            f"Seconds of a cycle, worked out from samples of every array; {hardware['cpu_cores']} "
            "CPU cores. Times faster than each of the three others in turn; FLOPs of a candidate "
            "over all kernels, against a forward pass. "
            f"A product of large matrices runs at {rate:.0f} GFLOP/s there, at which the MNIST "
            f"network's cycle would take {mnist['floor_seconds']:.0f} s; the authors' MXNet script "
            f"took 2147 s on the same two cores, {mnist['times_faster_than_mxnet']:.1f} times as "
            "long.",
        ]
    )


def with_results(document: Path, results: str) -> str:
    """The text of a document with its results replaced."""
    before, _, rest = document.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{results}\n{END}{after}"


def main(check: bool) -> int:
    """Write the results into the documents and draw the figure, or compare."""
    runs = read_runs("digits")
    texts = {
        README: with_results(README, table(runs)),
        COLUMN_PROGRAMS: with_results(COLUMN_PROGRAMS, cost_table()),
        SEARCH: with_results(SEARCH, variants_tables()),
        SPECTRAL: with_results(SPECTRAL, spectral_table()),
    }
    if check:
        outdated = [d.name for d, text in texts.items() if text != d.read_text()]
        if outdated:
            print(
                f"{', '.join(outdated)} out of date; run python experiments/report.py",
                file=sys.stderr,
            )
        return int(bool(outdated))
    for document, text in texts.items():
        document.write_text(text)
    FIGURE.parent.mkdir(exist_ok=True)
    figure(runs, FIGURE)
    variants_figure("mnist", VARIANTS_FIGURE)
    return 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
