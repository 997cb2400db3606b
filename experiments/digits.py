"""scikit-learn's digits by RSO and all baselines, 5 seeds each: the first table of the README.

A 64-64-10 network with batch norm (4,884 weights), 1,437 training and 360 test images. RSO by
preset ``authors_code``, 3 cycles, every visit on all training images, and by ``spectral``. The
baselines' settings are those that ``tune.py`` chose on held-out training images; gradient methods
run 30 epochs, evolution strategies 400. About 10 minutes on 2 CPU cores.

    python experiments/digits.py
"""

import sys
from typing import Any

from frozen import run_experiment
from tune import chosen

SEEDS = 5


def settings() -> dict[str, dict[str, Any]]:
    """Those of ``rso train`` by name of the run, without the seed."""
    runs: dict[str, dict[str, Any]] = {
        "rso": {"preset": "authors_code", "cycles": 3},
        "spectral": {"preset": "spectral", "cycles": 500},
        "sgd": chosen("digits", "sgd") | {"cycles": 30},
        "adam": chosen("digits", "adam") | {"cycles": 30},
        "open-es": chosen("digits", "open-es") | {"cycles": 400, "score_every": 10},
        "pgpe": chosen("digits", "pgpe") | {"cycles": 400, "score_every": 10},
    }
    return {name: {"dataset": "digits"} | run for name, run in runs.items()}


if __name__ == "__main__":
    sys.exit(run_experiment("digits", settings, seeds=SEEDS))
