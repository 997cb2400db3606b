"""Fashion-MNIST, the paper's MNIST network (12,016 weights), by RSO and the baselines.

As ``mnist.py``, but 3 cycles of RSO. The baselines' settings are chosen anew, on held-out training
images of this data set.

    python experiments/fashion_mnist.py --data-dir DIR --max-minutes 60
"""

import sys
from typing import Any

from frozen import run_experiment
from tune import chosen

ON_AN_ACCELERATOR = ("rso-paper",)


def settings() -> dict[str, dict[str, Any]]:
    """Those of ``rso train`` by name of the run, without the seed."""
    runs: dict[str, dict[str, Any]] = {
        "rso": {"preset": "authors_code", "cycles": 3, "batch_size": (2000,)},
        "rso-paper": {"preset": "authors_code", "cycles": 50, "batch_size": (5000,)},
        "spectral": {"preset": "spectral", "cycles": 500},
        "sgd": chosen("fashion_mnist", "sgd") | {"cycles": 50},
        "adam": chosen("fashion_mnist", "adam") | {"cycles": 50},
        "open-es": chosen("fashion_mnist", "open-es") | {"cycles": 5},
    }
    return {name: {"dataset": "fashion_mnist"} | run for name, run in runs.items()}


if __name__ == "__main__":
    sys.exit(run_experiment("fashion_mnist", settings, unless_named=ON_AN_ACCELERATOR))
