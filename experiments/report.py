"""Tables and figures of the documentation, from the files under ``experiments/results``.

    python experiments/report.py           # write them
    python experiments/report.py --check   # exit status 1 if one is out of date

Nothing is typed by hand between ``<!-- results -->`` marks, and figures elsewhere are compared with
the files, which are right.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from report_prose import unfounded
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
PICTURES = HERE.parent / "docs"
RESULTS = HERE / "results"
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
LOWEST = {"mnist": 80.0, "fashion_mnist": 60.0, "cifar10": 10.0}
"""Test accuracy, in percent, at the foot of a picture."""
UNLIKE = 1e-4
"""Share of pixels in which two drawings of the same results may differ."""


def cost_table() -> str:
    """A row per network: what a cycle costs by column programs and otherwise."""
    stored = json.loads((RESULTS / "benchmarks" / "candidate_cost.json").read_text())
    rows = [
        "| network | mini-batches | visits | separate forward passes | full passes, compiled sweep "
        "| activation caching | column programs | times faster | times fewer operations, bytes "
        "| the same by XLA's count | compilation |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
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
            f"| {total['times_fewer_flops_than_full']:,.1f}, "
            f"{total['times_fewer_bytes_than_full']:,.1f} "
            f"| {total['times_fewer_flops_by_xla']:,.1f}, "
            f"{total['times_fewer_bytes_by_xla']:,.1f} | {total['compile_seconds']:.0f} s |"
        )
    hardware, rate = stored["hardware"], stored["matrix_gflops"]
    mnist = stored["networks"]["paper-mnist"]["summary"]
    return "\n".join(
        [
            *rows,
            "",
            f"Seconds of a cycle, worked out from samples of every array (of the transformer and "
            "paper-cifar10: of their kernels, which are the visits counted); "
            f"{hardware['cpu_cores']} CPU cores. Times faster than each of the three others in "
            "turn; operations of a candidate, and bytes that it reads and writes, over all "
            "kernels, against a forward pass: counted in the traced programs, and by XLA's "
            "analysis of what it compiles. "
            f"A product of large matrices runs at {rate:.0f} GFLOP/s there, at which the MNIST "
            f"network's cycle would take {mnist['floor_seconds']:.0f} s; the authors' MXNet script "
            f"took 2147 s on the same two cores, {mnist['times_faster_than_mxnet']:.1f} times as "
            "long, and computes less: it caches activations, under fixed batch statistics.",
        ]
    )


def cliffs_table() -> str:
    """A row per network of odd operations: shares of a forward pass, and what was to be reached."""
    stored = json.loads((RESULTS / "benchmarks" / "cliffs.json").read_text())
    before, reached = (stored.get(when, {}) for when in ("before", "reached"))

    def figure(shares: dict, name: str) -> str:
        share = shares.get("share", {}).get(name)
        return "" if share is None else f"{share:.3f}"

    rows = ["| network | before | to be reached | now |", "|---|---|---|---|"]
    for name in before["share"]:
        target = stored["target"].get(name, "")
        rows.append(f"| {name} | {figure(before, name)} | {target} | {figure(reached, name)} |")
    return "\n".join(
        [
            *rows,
            "",
            "Operations of the products and convolutions of a candidate over those of a forward "
            f"pass, the mean over all weights; before: at commit {before['commit']}. A name in "
            "the third column: as much as that network.",
        ]
    )


def with_results(document: Path, *results: str) -> str:
    """The text of a document with its results, in order of appearance, replaced."""
    first, *rest = document.read_text().split(BEGIN)
    parts = [part.partition(END)[2] for part in rest]
    blocks = [f"{BEGIN}\n{text}\n{END}{after}" for text, after in zip(results, parts, strict=True)]
    return first + "".join(blocks)


def figures() -> dict[Path, Callable[[Path], None]]:
    """What draws each picture, as far as there are results."""
    drawn: dict[Path, Callable[[Path], None]] = {
        PICTURES / "digits.png": partial(
            runs_figure, "digits", lowest=88, axes=("updates_per_weight", "image_evaluations")
        ),
        PICTURES / "search_variants.png": partial(variants_figure, "mnist"),
    }
    for name, lowest in LOWEST.items():
        runs = read_runs(name)
        if any(runs.values()):
            drawn[PICTURES / f"{name}.png"] = partial(
                runs_figure, name, lowest=lowest, axes=tuple(AXES)
            )
        if runs.get("rso"):
            drawn[PICTURES / f"{name}_accepted.png"] = partial(accepted_figure, name, "rso")
            drawn[PICTURES / f"{name}_filters.png"] = partial(filters_figure, name, "rso")
    return drawn


def same_picture(one: Path, other: Path) -> bool:
    """Whether two drawings show the same, up to the rounding of another machine."""
    from matplotlib.image import imread

    a, b = imread(one), imread(other)
    return a.shape == b.shape and float((abs(a - b).max(-1) > 0.1).mean()) < UNLIKE


def outdated(texts: dict[Path, str]) -> list[Path]:
    """Documents and pictures that are not what the result files make them."""
    old = [document for document, text in texts.items() if text != document.read_text()]
    with tempfile.TemporaryDirectory() as scratch:
        for picture, draw in figures().items():
            fresh = Path(scratch) / picture.name
            draw(fresh)
            if not picture.exists() or not same_picture(picture, fresh):
                old.append(picture)
    return old


def main(check: bool) -> int:
    """Write the results into the documents and draw the figures, or compare."""
    tables = {name: runs_table(name, title) for name, title in TITLES.items()}
    texts = {
        README: with_results(README, tables["digits"], tables["mnist"]),
        COLUMN_PROGRAMS: with_results(COLUMN_PROGRAMS, cost_table(), cliffs_table()),
        EXPERIMENTS: with_results(EXPERIMENTS, *tables.values(), ablations_tables()),
        SEARCH: with_results(SEARCH, variants_tables()),
        SPECTRAL: with_results(SPECTRAL, spectral_table()),
    }
    old = outdated(texts) if check else []
    if old:
        names = ", ".join(str(path.relative_to(HERE.parent)) for path in old)
        print(f"{names} out of date; run python experiments/report.py", file=sys.stderr)
    if not check:
        for document, text in texts.items():
            document.write_text(text)
        PICTURES.mkdir(exist_ok=True)
        for picture, draw in figures().items():
            draw(picture)
    wrong = unfounded()
    for line in wrong:
        print(line, file=sys.stderr)
    return int(bool(old or wrong))


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
