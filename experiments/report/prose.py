"""Numbers quoted in prose: each comes from a result file, or is known to be somebody else's."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from report.courses import seconds_a_cycle
from report.sources import (
    Run,
    Runs,
    at_the_end,
    read_benchmark,
    read_cosines,
    read_leaf_order,
    read_runs,
    read_study,
)

TOP = Path(__file__).parents[2]
RESULT_TABLE = re.compile(r"<!-- results -->.*?<!-- end of results -->", re.DOTALL)
CODE = re.compile(r"```.*?```", re.DOTALL)
UNITS = "%|nats|million|times|points?|s|seconds?|minutes?|hours?"
FIGURE = re.compile(rf"\d[\d,.]* ?(?:{UNITS})(?!\w)")

# What a document must say, to the letter except for line breaks, in the names of `measured`.
QUOTES = {
    "README.md": (
        "MNIST network are evaluated {costs[paper-mnist]:.0f} times faster than by forward passes",
        "[a loss of its own](docs/local_losses.md) {costs[paper-mnist, local losses]:,.0f} times",
        "takes [{paper_seconds:.0f} s](docs/devices.md#one-accelerator): five of them come to "
        "{mnist_paper_5:.1f} %",
        "({mnist[rso].updates:,.0f} on MNIST, SGD {mnist[sgd].updates:,.0f})",
        "{mnist[sgd].accuracy:.1f} % against {mnist[rso].accuracy:.1f} %, for "
        "{times_rso_sgd:.0f} times fewer image evaluations",
    ),
    "docs/paper.md": (
        "{digits[rso].millions:.0f} million images, where SGD needs {digits[sgd].millions:.1f} "
        "million",
        "on Fashion-MNIST {fashion[rso].cycles} cycles came to {fashion[rso].accuracy:.1f} %, "
        "`spectral` to {fashion[spectral].accuracy:.1f} %, SGD to {fashion[sgd].accuracy:.1f} %",
        "came to {mnist[spectral].accuracy:.2f} % in {mnist[spectral].cycles} cycles, where "
        "`authors_code` came to {mnist[rso].accuracy:.2f} % in {mnist[rso].cycles}, with "
        "{times_rso_spectral:.1f} times fewer image evaluations",
        "{fast.accuracy:.2f} % against {sequential.accuracy:.2f} %, with {times_fast:.0f} times "
        "fewer image evaluations and {times_rounds_fast:.0f} times fewer steps",
    ),
    "experiments/README.md": (
        "after 5 of them it stood at {mnist_rso_5:.2f} %",
        "after 5 of its cycles it stands at {mnist_paper_5:.2f} %",
        "passed it with {times_rso_spectral:.1f} times fewer image evaluations",
        "took two cores {cifar10[rso-part].minutes:.0f} minutes",
        "reach for {no_decay.cycles} cycles instead of {authors_code.cycles}",
        "the three seeds of the reference lie {authors_code.spread:.1f} points apart",
    ),
    "docs/local_losses.md": (
        "comes to {mnist[local-half-hour-shifted].accuracy:.2f} % of the test images in "
        "{mnist[local-half-hour-shifted].minutes:.0f} minutes on one core",
        "on images as they are, to {mnist[sgd].accuracy:.2f} %",
        "three of 1000 steps each come to {mnist[local].accuracy:.2f} %",
        "comes on CIFAR-10 (JPEG) to {cifar10[local].accuracy:.2f} %",
        "After 7500 steps it comes to {cifar10[local-evening].accuracy:.2f} %",
        "Adam comes to {cifar10[adam-heads].accuracy:.2f} %",
        "takes {steps[paper-mnist][slopes][ms]:.0f} ms on one core, where a gradient of the same "
        "network takes {steps[paper-mnist][gradient][ms]:.0f} ms; of the residual network on "
        "CIFAR-10 {steps[paper-cifar10][slopes][ms]:,.0f} ms and "
        "{steps[paper-cifar10][gradient][ms]:.0f} ms",
        "comes to {heads[0]:.2f} % after one cycle, {heads[1]:.2f} % after two, {heads[4]:.2f} % "
        "after five and {heads[9]:.2f} % after ten",
        "that run ends at {mnist[rso-heads-5].accuracy:.2f} %",
        "without heads it stands at {mnist_paper_5:.2f} % after five and at {mnist_paper_10:.2f} % "
        "after ten",
    ),
    "docs/search.md": (
        "got {racing.cycles} cycles for {racing_share:.0f} % of the evaluations of sequential "
        "search's {sequential.cycles}",
    ),
    "docs/slopes.md": (
        "comes to {mnist_mlp[slopes].accuracy:.2f} % of the test images in "
        "{mnist_mlp[slopes].seconds:.0f} s of training",
        "by SGD along gradients to {mnist_mlp[sgd].accuracy:.2f} % in "
        "{mnist_mlp[sgd].seconds:.0f} s",
        "slopes come to {digits[slopes].accuracy:.2f} % with {digits[slopes].millions:.1f} million "
        "image evaluations, where `authors_code` takes {digits[rso].millions:.1f} million for "
        "{digits[rso].accuracy:.2f} %",
        "comes to {evojax[slopes].accuracy:.2f} % by {evojax[slopes].millions:.0f} million",
        "slopes come to {evojax[slopes-quarter].accuracy:.2f} % in "
        "{evojax[slopes-quarter].seconds:.0f} s on one core, PGPE of evosax to "
        "{evojax[pgpe].accuracy:.2f} % in {evojax[pgpe].seconds:,.0f} s",
        "the slopes that node probes tell in {cosine[nodes].evaluations} evaluations have a cosine "
        "of {cosine[nodes].cosine:.4f} with the gradient",
        "Of {cosine[spsa].evaluations} evaluations along random directions, as SPSA and evolution "
        "strategies make them, it is {cosine[spsa].cosine:.2f}, of as many weight probes "
        "{cosine[weights].cosine:.2f}",
        "comes to {nats[slopes]:.2f} nats a character, by Adam along gradients, at the same rate "
        "and on as many tokens, to {nats[adam]:.2f} nats: {nats_above:.1f} % above",
        "came to {apart[970]:.1f} % of the training images and fell to {apart[1940]:.1f} % in as "
        "many steps again",
        "had a cosine of {scales[0].least:.2f} at worst with the gradient, "
        "{scales[0].median:.2f} in the median, and have {scales[2].least:.3f} and "
        "{scales[2].median:.4f} by the shorter moves",
        "together they come to {leaf_order[together]:.2f} % of the test images, in turn to "
        "{leaf_order[in-turn]:.2f} %",
    ),
    "docs/spectral.md": (
        "{mnist[spectral].cycles} cycles of it came to {mnist[spectral].accuracy:.2f} % on the "
        "test set and {mnist[rso].cycles} of `authors_code` to {mnist[rso].accuracy:.2f} %, with "
        "{times_rso_spectral:.1f} times as many image evaluations",
    ),
}
# From other sources, as the text says.
OTHERS = (
    "the paper reports 99.1 %, and 98 % after 5 cycles",
    "the paper's abstract has 98 % after 5",
    "where the paper has 98 %",
    "paper reports 81.8 %",
    "the budget of EvoJAX's examples, 131 million image evaluations",
    "EvoJAX's best is 97.43 %, of PGPE, by 131 million",
    "PGPE 97.43 %, Open_ES 96.69 %, ARS 96.10 % and CMA-ES 95.81 %, at 131 million",
    "the 2147 s of the authors' script, timed by hand",
)


class Told(NamedTuple):
    """What as many evaluations as there are columns tell of slopes, at initialisation."""

    evaluations: int
    cosine: float
    """With the gradient, mean over draws."""


class Cosines(NamedTuple):
    """Of slopes with gradients, of several leaves."""

    least: float
    median: float


class Outcome(NamedTuple):
    """What the seeds of a method came to."""

    accuracy: float
    """Percent, mean over seeds."""
    spread: float
    """Percentage points from the lowest seed to the highest."""
    cycles: int
    millions: float
    """Of image evaluations."""
    updates: float
    """Of each weight; of a search variant, rounds."""
    minutes: float
    seconds: float
    """Of training, median over seeds."""


def unfounded(top: Path = TOP) -> list[str]:
    """What documents should say and do not, and their figures that no result file is behind.

    Args:
        top: folder that the documents are in.
    """
    wrong = []
    facts = measured()
    for name, templates in QUOTES.items():
        whole = (top / name).read_text()
        quotes = [template.format_map(facts) for template in templates]
        if name == "README.md":
            quotes += _printed_by_make_train()
        shown = _one_line(whole)
        wrong += [f'{name} should say "{quote}"' for quote in quotes if quote not in shown]
        prose = _one_line(CODE.sub(" ", RESULT_TABLE.sub(" ", whole)))
        for known in (*quotes, *OTHERS):
            prose = prose.replace(known, "")
        wrong += [
            f'{name}: no result file is behind "{figure.group()}"'
            for figure in FIGURE.finditer(prose)
        ]
    return wrong


def measured() -> dict[str, object]:
    """Outcomes, by data set and run or by variant, and what follows from them."""
    digits, mnist = _outcomes(read_runs("digits")), _outcomes(read_runs("mnist"))
    variants = _outcomes(read_study("search_variants", "mnist"))
    ablations = _outcomes(read_study("ablations", "digits"))
    sequential, fast = variants["sequential"], variants["leaves, orthogonal, quarter"]
    racing = variants["sequential, racing"]
    scales = read_benchmark("slopes_of_scales")
    nats = {
        name: float(np.mean(at_the_end(runs, "test_loss")))
        for name, runs in read_runs("characters").items()
    }
    return {
        "digits": digits,
        "mnist": mnist,
        "fashion": _outcomes(read_runs("fashion_mnist")),
        "cifar10": _outcomes(read_runs("cifar10")),
        "paper_seconds": seconds_a_cycle(read_runs("mnist")["rso-paper"][0]),
        "mnist_paper_5": 100 * read_runs("mnist")["rso-paper"][0].lines[4]["test_accuracy"],
        "mnist_paper_10": 100 * read_runs("mnist")["rso-paper"][0].lines[9]["test_accuracy"],
        "mnist_rso_5": 100 * read_runs("mnist")["rso"][0].lines[4]["test_accuracy"],
        "times_rso_sgd": mnist["rso"].millions / mnist["sgd"].millions,
        "times_rso_spectral": mnist["rso"].millions / mnist["spectral"].millions,
        "sequential": sequential,
        "fast": fast,
        "times_fast": sequential.millions / fast.millions,
        "times_rounds_fast": sequential.updates / fast.updates,
        "racing": racing,
        "racing_share": 100 * racing.millions / sequential.millions,
        "authors_code": ablations["authors_code"],
        "no_decay": ablations["no weight decay"],
        "mnist_mlp": _outcomes(read_runs("mnist_mlp")),
        "evojax": _outcomes(read_runs("evojax")),
        "steps": {
            row["network"].split(",")[0]: row for row in read_benchmark("slopes_cost")["rows"]
        },
        "heads": [100 * line["test_accuracy"] for line in read_runs("mnist")["rso-heads"][0].lines],
        "costs": {
            name: network["summary"]["times_faster_than_forwards"]
            for name, network in read_benchmark("candidate_cost")["networks"].items()
        },
        "apart": {int(step): share for step, share in scales["training_accuracy_by_step"].items()},
        "scales": [
            Cosines(min(cosines), float(np.median(cosines)))
            for cosines in zip(*scales["cosines"].values(), strict=True)
        ],
        "nats": nats,
        "nats_above": 100 * (nats["slopes"] / nats["adam"] - 1),
        "cosine": {way: _told(way) for way in ("nodes", "weights", "spsa", "es")},
        "leaf_order": {
            way["leaves"]: 100 * float(np.mean(way["accuracy"]))
            for way in read_leaf_order()["ways"]
        },
    }


def _told(way: str) -> Told:
    stored = read_cosines("mnist")
    points = [p for p in stored["points"] if (p["state"], p["way"]) == ("initial", way)]
    most = max(p["evaluations"] for p in points if p["evaluations"] <= 1 + stored["columns"])
    cosines = [p["cosine"] for p in points if p["evaluations"] == most]
    return Told(most, float(np.mean(cosines)))


def _outcomes(runs: Runs) -> dict[str, Outcome]:
    return {name: _outcome(seeds) for name, seeds in runs.items() if seeds}


def _outcome(runs: Sequence[Run]) -> Outcome:
    last = runs[0].lines[-1]
    of_study = "held_out_accuracy" in last
    accuracies = 100 * at_the_end(runs, "held_out_accuracy" if of_study else "test_accuracy")
    return Outcome(
        float(np.mean(accuracies)),
        float(np.ptp(accuracies)),
        last["cycle"],
        last["image_evaluations"] / 1e6,
        last["rounds" if of_study else "updates_per_weight"],
        last["seconds"] / 60,
        float(np.median(at_the_end(runs, "seconds"))),
    )


def _printed_by_make_train() -> list[str]:
    """The lines of README's first example, which is the same run, up to their seconds."""
    lines = read_runs("digits")["rso"][0].lines
    return [
        f"cycle {line['cycle']}/{len(lines)} test accuracy {line['test_accuracy']:.2%} "
        f"train loss {line['train_loss']:.4f} accepted {line['accepted_share']:.0%} "
        f"{line['image_evaluations'] / 1e6:.1f}M image evaluations"
        for line in lines
    ]


def _one_line(text: str) -> str:
    return " ".join(text.split())
