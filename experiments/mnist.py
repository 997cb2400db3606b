"""MNIST, the paper's network (12,016 weights), by RSO and the baselines.

``rso`` is preset ``authors_code`` at a mini-batch of 2000, as far as 2 CPU cores go: 10 cycles.
``rso-paper`` is what the paper ran, 50 cycles at 5000; it wants an accelerator and is not run
unless named. ``spectral`` has about a quarter of the image evaluations of ``rso``. The baselines'
settings are those that ``tune.py`` chose on held-out training images. Each takes a
large part of an hour to several hours on 2 cores.

    python experiments/mnist.py --data-dir DIR --max-minutes 60
"""

import sys
from typing import Any

from frozen import run_experiment

ON_AN_ACCELERATOR = ("rso-paper",)


def runs_on(dataset: str, cycles: int) -> dict[str, dict[str, Any]]:
    """Settings of ``rso train`` by name of the run, without the seed.

    Args:
        dataset: of images that the paper's MNIST network takes.
        cycles: of ``rso``.
    """
    runs: dict[str, dict[str, Any]] = {
        "rso": {"preset": "authors_code", "cycles": cycles, "batch_size": (2000,)},
        "rso-paper": {"preset": "authors_code", "cycles": 50, "batch_size": (5000,)},
        "spectral": {"optimizer": "slopes", "preset": "spectral", "cycles": 238},
        "sgd": {"optimizer": "sgd", "cycles": 50},
        "adam": {"optimizer": "adam", "cycles": 50},
        "open-es": {"optimizer": "open-es", "cycles": 5},
    }
    return {name: {"dataset": dataset} | run for name, run in runs.items()}


RUNS = runs_on("mnist", cycles=10)


if __name__ == "__main__":
    sys.exit(run_experiment("mnist", RUNS, unless_named=ON_AN_ACCELERATOR))
