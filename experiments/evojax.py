"""EvoJAX's network for MNIST (11,274 weights) on EvoJAX's budget: slopes beside evolution.

Two 5x5 convolutions of 8 and 16 filters and ten logits. EvoJAX's examples train it for 2000
generations of 64 members on 1024 images, 131 million image evaluations, which is what every method
without gradients has here: 34 epochs of 64 evaluations a mini-batch, so many fewer at a larger
population. ``slopes`` takes 3,355 evaluations for a mini-batch, each of one position of one channel
or of one weight, which tell every slope: 25 cycles of 24 mini-batches of 64 images, 38,400 images
in all. Its step and rate were chosen on held-out training images, with exact gradients in place of
slopes to save time. SGD, by gradients, for comparison. All other settings are those that
``tune.py`` chose on held-out training images.

    python experiments/evojax.py --data-dir DIR --max-minutes 60
"""

import sys
from typing import Any

from frozen import run_experiment

NETWORK = {"model": "evojax-mnist", "preset": "paper"}
DATA = {"dataset": "mnist"} | NETWORK
SLOPES = {
    "optimizer": "slopes",
    "batches_per_cycle": 24,
    "batch_size": (64,),
    "step": "muon",
    "learning_rate": 0.03,
    "momentum": 0.9,
}
EVOLUTION = DATA | {"cycles": 34}
RUNS: dict[str, dict[str, Any]] = {
    "slopes": DATA | SLOPES | {"cycles": 25},
    "open-es": EVOLUTION | {"optimizer": "open-es"},
    "pgpe": EVOLUTION | {"optimizer": "pgpe"},
    "snes": EVOLUTION | {"optimizer": "snes"},
    "sgd": DATA | {"optimizer": "sgd", "cycles": 15},
}
"""Settings of ``rso train`` by name of the run, without the seed."""


if __name__ == "__main__":
    sys.exit(run_experiment("evojax", RUNS, seeds={"slopes": 3}))
