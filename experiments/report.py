"""Tables and figures of the documentation, from the files under ``experiments/results``.

    python experiments/report.py           # write them
    python experiments/report.py --check   # exit status 1 if they are out of date

Nothing is typed by hand between ``<!-- results -->`` marks.
"""

import json
import sys
from pathlib import Path

from report_runs import AXES, read_runs, runs_figure, runs_table
from report_search import accepted_figure, filters_figure
from report_variants import ablations_tables, spectral_table, variants_figure, variants_tables

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
COLUMN_PROGRAMS = HERE.parent / "docs" / "incremental.md"
EXPERIMENTS = HERE / "README.md"
SEARCH = HERE.parent / "docs" / "search.md"
SPECTRAL = HERE.parent / "docs" / "spectral.md"
TITLES = {
    "digits": "digits, 4,884 weights",
    "mnist": "MNIST, 12,016 weights",
    "fashion_mnist": "Fashion-MNIST, 12,016 weights",
    "cifar10": "CIFAR-10 (JPEG), 57,104 weights",
}
FIGURE = HERE.parent / "docs" / "digits.png"
VARIANTS_FIGURE = HERE.parent / "docs" / "search_variants.png"
RESULTS = HERE / "results"
BEGIN, END = "<!-- results -->", "<!-- end of results -->"


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


def with_results(document: Path, *results: str) -> str:
    """The text of a document with its results, in order of appearance, replaced."""
    first, *rest = document.read_text().split(BEGIN)
    parts = [part.partition(END)[2] for part in rest]
    blocks = [f"{BEGIN}\n{text}\n{END}{after}" for text, after in zip(results, parts, strict=True)]
    return first + "".join(blocks)


def main(check: bool) -> int:
    """Write the results into the documents and draw the figure, or compare."""
    tables = {name: runs_table(name, title) for name, title in TITLES.items()}
    texts = {
        README: with_results(README, tables["digits"], tables["mnist"]),
        COLUMN_PROGRAMS: with_results(COLUMN_PROGRAMS, cost_table()),
        EXPERIMENTS: with_results(EXPERIMENTS, *tables.values(), ablations_tables()),
        SEARCH: with_results(SEARCH, variants_tables()),
        SPECTRAL: with_results(SPECTRAL, spectral_table()),
    }
    if check:
        outdated = [
            str(d.relative_to(HERE.parent)) for d, text in texts.items() if text != d.read_text()
        ]
        if outdated:
            print(
                f"{', '.join(outdated)} out of date; run python experiments/report.py",
                file=sys.stderr,
            )
        return int(bool(outdated))
    for document, text in texts.items():
        document.write_text(text)
    FIGURE.parent.mkdir(exist_ok=True)
    runs_figure("digits", FIGURE, 88, ("updates_per_weight", "image_evaluations"))
    variants_figure("mnist", VARIANTS_FIGURE)
    if any(read_runs("mnist").values()):
        runs_figure("mnist", FIGURE.with_name("mnist.png"), 80, tuple(AXES))
        accepted_figure("mnist", "rso", FIGURE.with_name("mnist_accepted.png"))
        filters_figure("mnist", "rso", FIGURE.with_name("mnist_filters.png"))
    return 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
