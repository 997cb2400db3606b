"""Figures quoted in prose: each comes from a result file, or is known to be somebody else's."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from report_runs import Run, read_runs
from report_variants import ABLATIONS, VARIANTS, last_points

TOP = Path(__file__).parents[1]
RESULT_TABLE = re.compile(r"<!-- results -->.*?<!-- end of results -->", re.DOTALL)
CODE = re.compile(r"```.*?```", re.DOTALL)
UNITS = "%|million|times|points?|s|seconds?|minutes?|hours?"
FIGURE = re.compile(rf"\d[\d,.]* ?(?:{UNITS})(?!\w)")
OTHERS = (
    "the paper reports 99.1 %, and 98 % after 5 cycles",
    "paper reports 81.8 %",
    "the 2147 s of the authors' script, timed by hand",
)
"""From other sources, as the text says."""


def quotes() -> dict[Path, list[str]]:
    """What documents must say, letter by letter except for line breaks, as the files have it."""
    digits, mnist = read_runs("digits"), read_runs("mnist")
    part = read_runs("cifar10")["rso-part"][0]
    variants, ablations = last_points(VARIANTS / "mnist"), last_points(ABLATIONS / "digits")
    spectral, sequential = variants["leaves, orthogonal, quarter"], variants["sequential"]
    racing, reference = variants["sequential, racing"], ablations["authors_code"]
    accuracies = 100 * np.array([point["held_out_accuracy"] for point in reference])
    readme = [
        f"{_evaluations(digits['rso']) / 1e6:.0f} million images, where SGD needs "
        f"{_evaluations(digits['sgd']) / 1e6:.1f} million",
        f"({_updates(mnist['rso']):,.0f} on MNIST, SGD {_updates(mnist['sgd']):,.0f})",
        f"{_accuracy(mnist['sgd']):.1f} % against {_accuracy(mnist['rso']):.1f} %, for "
        f"{_evaluations(mnist['rso']) / _evaluations(mnist['sgd']):.0f} times fewer",
        f"{_held_out(spectral):.1f} % against {_held_out(sequential):.1f} %, with "
        f"{_times(sequential, spectral, 'image_evaluations'):.0f} times fewer image evaluations "
        f"and {_times(sequential, spectral, 'rounds'):.0f} times fewer steps",
        *_printed_by_make_train(digits["rso"][0]),
    ]
    return {
        TOP / "README.md": readme,
        TOP / "experiments" / "README.md": [
            f"reach for {ablations['no weight decay'][0]['cycle']} cycles instead of "
            f"{reference[0]['cycle']}",
            f"after 5 of them it stood at {100 * mnist['rso'][0].lines[4]['test_accuracy']:.2f} %",
            f"took two cores {part.lines[-1]['seconds'] / 60:.0f} minutes",
            f"the three seeds of the reference lie {np.ptp(accuracies):.1f} points apart",
        ],
        TOP / "docs" / "search.md": [
            f"got {racing[0]['cycle']} cycles for "
            f"{100 / _times(sequential, racing, 'image_evaluations'):.0f} % of the evaluations of "
            f"sequential search's {sequential[0]['cycle']}",
        ],
        TOP / "docs" / "spectral.md": [],
    }


def unfounded(document: Path, quoted: Sequence[str]) -> list[str]:
    """What a document should say and does not, and figures that no result file is behind.

    Args:
        document: Markdown.
        quoted: what it must say.
    """
    whole = document.read_text()
    text = _one_line(whole)
    name = document.relative_to(TOP)
    wrong = [f'{name} should say "{quote}"' for quote in quoted if quote not in text]
    text = _one_line(CODE.sub(" ", RESULT_TABLE.sub(" ", whole)))
    for known in (*quoted, *OTHERS):
        text = text.replace(known, "")
    return wrong + [
        f'{name}: no result file is behind "{found.group()}"' for found in FIGURE.finditer(text)
    ]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _printed_by_make_train(run: Run) -> list[str]:
    """The lines of README's first example, which is the same run, up to their seconds."""
    return [
        f"cycle {line['cycle']}/{len(run.lines)} test accuracy {line['test_accuracy']:.2%} "
        f"train loss {line['train_loss']:.4f} accepted {line['accepted_share']:.0%} "
        f"{line['image_evaluations'] / 1e6:.1f}M image evaluations"
        for line in run.lines
    ]


def _accuracy(runs: Sequence[Run]) -> float:
    return 100 * float(np.mean([run.lines[-1]["test_accuracy"] for run in runs]))


def _evaluations(runs: Sequence[Run]) -> float:
    return runs[0].lines[-1]["image_evaluations"]


def _updates(runs: Sequence[Run]) -> float:
    return runs[0].lines[-1]["updates_per_weight"]


def _held_out(points: Sequence[dict]) -> float:
    return 100 * float(np.mean([point["held_out_accuracy"] for point in points]))


def _times(many: Sequence[dict], few: Sequence[dict], what: str) -> float:
    return many[0][what] / few[0][what]
