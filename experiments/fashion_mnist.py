"""Fashion-MNIST, the paper's MNIST network (12,016 weights), by RSO and the baselines.

As ``mnist.py``, but 3 cycles of RSO. The baselines' settings are chosen anew, on held-out training
images of this data set.

    python experiments/fashion_mnist.py --data-dir DIR --max-minutes 60
"""

import sys
from typing import Any

from frozen import run_experiment

ON_AN_ACCELERATOR = ("rso-paper",)
DATA = {"dataset": "fashion_mnist"}
RUNS: dict[str, dict[str, Any]] = {
    "rso": DATA | {"preset": "authors_code", "cycles": 3, "batch_size": (2000,)},
    "rso-paper": DATA | {"preset": "authors_code", "cycles": 50, "batch_size": (5000,)},
    "spectral": DATA | {"preset": "spectral", "cycles": 500},
    "sgd": DATA | {"optimizer": "sgd", "cycles": 50},
    "adam": DATA | {"optimizer": "adam", "cycles": 50},
    "open-es": DATA | {"optimizer": "open-es", "cycles": 5},
}
"""Settings of ``rso train`` by name of the run, without the seed."""


if __name__ == "__main__":
    sys.exit(run_experiment("fashion_mnist", RUNS, unless_named=ON_AN_ACCELERATOR))
