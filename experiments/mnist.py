"""MNIST, the paper's network (12,016 weights), by RSO and the baselines.

``rso`` is preset ``authors_code`` at a mini-batch of 2000, as far as 2 CPU cores go: 10 cycles.
``rso-paper`` is what the paper ran, 50 cycles at 5000; it wants an accelerator and is not run
unless named. The baselines' settings are those that ``tune.py`` chose on held-out training images.
On 2 cores: ``rso`` 2 to 3 hours, ``spectral`` 2, ``open-es`` 1, SGD and Adam 20 minutes each.

    python experiments/mnist.py --data-dir DIR --max-minutes 60
"""

import sys
from typing import Any

from frozen import run_experiment
from tune import chosen

ON_AN_ACCELERATOR = ("rso-paper",)


def settings() -> dict[str, dict[str, Any]]:
    """Those of ``rso train`` by name of the run, without the seed."""
    runs: dict[str, dict[str, Any]] = {
        "rso": {"preset": "authors_code", "cycles": 10, "batch_size": (2000,)},
        "rso-paper": {"preset": "authors_code", "cycles": 50, "batch_size": (5000,)},
        "spectral": {"preset": "spectral", "cycles": 500},
        "sgd": chosen("mnist", "sgd") | {"cycles": 50},
        "adam": chosen("mnist", "adam") | {"cycles": 50},
        "open-es": chosen("mnist", "open-es") | {"cycles": 5},
    }
    return {name: {"dataset": "mnist"} | run for name, run in runs.items()}


if __name__ == "__main__":
    sys.exit(run_experiment("mnist", settings, unless_named=ON_AN_ACCELERATOR))
