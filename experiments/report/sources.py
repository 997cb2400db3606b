"""What is reported on: runs, as ``rso train`` writes them, and the files of the benchmarks."""

import importlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from frozen import RESULTS, UNFINISHED

from rso_jax.training.run_folder import METRICS, read_config, read_metrics

STUDIES = {"search_variants": "sequential", "ablations": "authors_code"}
"""Experiments of many variants, and the variant that the others are compared with."""


class Run(NamedTuple):
    """What a run left."""

    config: dict[str, Any]
    lines: list[dict[str, Any]]
    """Of metrics.jsonl."""
    folder: Path


Runs = dict[str, list[Run]]
"""By name of the run or of the variant, one for each seed."""


@cache
def read_runs(experiment: str) -> Runs:
    """The runs of an experiment, in the order of its settings.

    Where none is complete, those that are unfinished.
    """
    names = importlib.import_module(experiment).RUNS
    return {
        name: _matching(RESULTS / experiment, f"{name}-seed[0-9]*")
        or _matching(UNFINISHED / experiment, f"{name}-seed[0-9]*")
        for name in names
    }


@cache
def read_study(study: str, dataset: str) -> Runs:
    """The runs of a study on one data set; none if it did not run there.

    A line has ``rounds`` besides: evaluations that waited for one another.

    Args:
        study: one of ``STUDIES``.
        dataset: name of its folder.
    """
    found: Runs = {}
    for run in _matching(RESULTS / study / dataset, "*-seed[0-9]*"):
        settings = run.config["settings"]
        lines = [line | {"rounds": settings["waits"] * line["decisions"]} for line in run.lines]
        found.setdefault(settings["variant"], []).append(run._replace(lines=lines))
    return found


def _matching(folder: Path, pattern: str) -> list[Run]:
    return [
        Run(read_config(metrics.parent), read_metrics(metrics.parent), metrics.parent)
        for metrics in sorted(folder.glob(f"{pattern}/{METRICS}"))
    ]


@cache
def read_benchmark(name: str) -> dict[str, Any]:
    """The result file of a benchmark."""
    return json.loads((RESULTS / "benchmarks" / f"{name}.json").read_text())


def has_cosines(dataset: str) -> bool:
    """Whether ``cosine.py`` ran on a data set."""
    return (RESULTS / "cosine" / f"{dataset}.json").exists()


@cache
def read_cosines(dataset: str) -> dict[str, Any]:
    """The result file of ``cosine.py`` on a data set."""
    return json.loads((RESULTS / "cosine" / f"{dataset}.json").read_text())


@cache
def read_leaf_order() -> dict[str, Any]:
    """The result file of ``leaf_order.py``."""
    return json.loads((RESULTS / "leaf_order.json").read_text())


@cache
def read_local_rates() -> dict[str, Any] | None:
    """The result file of ``local_rates.py``; None where it did not run."""
    file = RESULTS / "mnist" / "local_rates.json"
    return json.loads(file.read_text()) if file.exists() else None


def at_the_end(runs: Sequence[Run], quantity: str) -> np.ndarray:
    """A number of the last cycle, [seeds]."""
    return np.array([run.lines[-1][quantity] for run in runs])


def courses(runs: Sequence[Run], quantity: str) -> np.ndarray:
    """A number over the cycles, [seeds, cycles]; as many cycles as all of the seeds have."""
    common = min(len(run.lines) for run in runs)
    return np.array([[line[quantity] for line in run.lines[:common]] for run in runs])
