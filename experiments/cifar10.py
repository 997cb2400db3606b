"""CIFAR-10 (JPEG), the paper's residual network (57,104 weights), by RSO and SGD.

The images of the prepared data set went through lossy JPEG, so that figures compare with each
other and not with those of the original images. ``rso-part`` is one cycle on the first 5,000
training images at a mini-batch of 500, which is what 2 CPU cores do in an hour or two, and
``sgd-part`` SGD on the same images; ``rso-paper`` is what the paper ran, 500 cycles at 5000, and is
not run unless named. SGD and Adam: 20 epochs, settings from ``tune.py``.

    python experiments/cifar10.py --data-dir DIR --max-minutes 60
"""

import sys
from typing import Any

from frozen import run_experiment
from tune import chosen

ON_AN_ACCELERATOR = ("rso-paper",)


def settings() -> dict[str, dict[str, Any]]:
    """Those of ``rso train`` by name of the run, without the seed."""
    part = {"train_examples": 5000, "batch_size": (500,)}
    runs: dict[str, dict[str, Any]] = {
        "rso-part": {"preset": "authors_code", "cycles": 1} | part,
        "rso-paper": {"preset": "authors_code", "cycles": 500, "batch_size": (5000,)},
        "sgd": chosen("cifar10", "sgd") | {"cycles": 20},
        "sgd-part": chosen("cifar10", "sgd") | {"cycles": 20, "train_examples": 5000},
        "adam": chosen("cifar10", "adam") | {"cycles": 20},
    }
    return {name: {"dataset": "cifar10"} | run for name, run in runs.items()}


if __name__ == "__main__":
    sys.exit(run_experiment("cifar10", settings, unless_named=ON_AN_ACCELERATOR))
