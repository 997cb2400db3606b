"""EvoJAX's network for MNIST (11,274 weights): slopes on EvoJAX's budget, beside evolution.

Two 5x5 convolutions of 8 and 16 filters and ten logits. EvoJAX's examples train it for 2000
generations of 64 members on 1024 images, 131 million image evaluations. ``slopes`` has as many: it
takes 3,434 for an image, each of one weight or of one logit, which tell every slope: 25 cycles of
24 mini-batches of 64 images, 38,400 images in all. The evolution strategies have EvoJAX's
generations, and a quarter of their number, which takes a core most of an hour; ``slopes-quarter``
has that budget too. SGD, by gradients, for comparison.

Step and rate of ``slopes`` were chosen on held-out training images, with exact gradients in place
of slopes to save time. The evolution strategies have the settings that ``tune.py`` chose there for
the network of ``mnist_mlp.py``, of the same images and generations; SGD those that it chose here.

    python experiments/evojax.py --data-dir DIR --max-minutes 60
"""

import sys
from typing import Any

from frozen import POPULATION, run_experiment

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
GENERATIONS = {"batch_size": (1024,)}
OF_MLP = {"learning_rate": 0.03, "sigma": 0.05, "population": POPULATION}
"""Chosen for Open_ES and for PGPE by ``tune.py mnist_mlp``."""
EVOLUTION = DATA | GENERATIONS | OF_MLP | {"cycles": 9}
RUNS: dict[str, dict[str, Any]] = {
    "slopes": DATA | SLOPES | {"cycles": 25},
    "slopes-quarter": DATA | SLOPES | {"cycles": 6},
    "open-es": EVOLUTION | {"optimizer": "open-es"},
    "pgpe": EVOLUTION | {"optimizer": "pgpe"},
    "sgd": DATA | {"optimizer": "sgd", "cycles": 15},
}
"""Settings of ``rso train`` by name of the run, without the seed."""


if __name__ == "__main__":
    sys.exit(run_experiment("evojax", RUNS, seeds={"slopes": 3, "slopes-quarter": 3}))
