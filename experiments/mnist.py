"""MNIST, the paper's network (12,016 weights), by RSO and the baselines.

``rso`` is preset ``authors_code`` at a mini-batch of 2000, as far as 2 CPU cores go: 10 cycles.
``rso-paper`` is what the paper ran, 50 cycles at 5000; it wants an accelerator and is not run
unless named. The baselines' settings are those that ``tune.py`` chose on held-out training images.
On 2 cores: ``rso`` 3 hours, ``spectral`` 2, ``open-es`` 1, SGD and Adam 20 minutes each.

    python experiments/mnist.py --data-dir DIR --max-minutes 60
"""

import sys
from typing import Any

from frozen import run_experiment

ON_AN_ACCELERATOR = ("rso-paper",)
DATA = {"dataset": "mnist"}
RUNS: dict[str, dict[str, Any]] = {
    "rso": DATA | {"preset": "authors_code", "cycles": 10, "batch_size": (2000,)},
    "rso-paper": DATA | {"preset": "authors_code", "cycles": 50, "batch_size": (5000,)},
    "spectral": DATA | {"preset": "spectral", "cycles": 500},
    "sgd": DATA | {"optimizer": "sgd", "cycles": 50},
    "adam": DATA | {"optimizer": "adam", "cycles": 50},
    "open-es": DATA | {"optimizer": "open-es", "cycles": 5},
}
"""Settings of ``rso train`` by name of the run, without the seed."""


if __name__ == "__main__":
    sys.exit(run_experiment("mnist", RUNS, unless_named=ON_AN_ACCELERATOR))
