"""MNIST, 784-256-10 without normalisation (203,530 weights), by slopes and what they compare with.

``slopes`` learns the slopes of all weights from one evaluation for each of 266 pre-activations, and
gives them to an optax step, as ``sgd`` and ``adam`` do gradients; ``-shifted``: training images
moved at random by up to two pixels, for longer. The evolution strategies and SPSA have 131 million
image evaluations, EvoJAX's budget. All settings are those that ``tune.py`` chose on held-out
training images; shifted runs have those of the others.

    python experiments/mnist_mlp.py --data-dir DIR --max-minutes 60
"""

import sys
from typing import Any

from frozen import run_experiment

NETWORK: dict[str, Any] = {"model": "mlp", "hidden": (256,), "norm": "none", "preset": "paper"}
DATA = {"dataset": "mnist"} | NETWORK
SHIFTED = DATA | {"shift": 2, "cycles": 160, "batch_size": (128,)}
EVOLUTION = DATA | {"cycles": 34}
RUNS: dict[str, dict[str, Any]] = {
    "slopes": DATA | {"optimizer": "slopes", "cycles": 15, "batch_size": (128,)},
    "slopes-shifted": SHIFTED | {"optimizer": "slopes"},
    "sgd": DATA | {"optimizer": "sgd", "cycles": 15},
    "sgd-shifted": SHIFTED | {"optimizer": "sgd"},
    "adam": DATA | {"optimizer": "adam", "cycles": 15},
    "open-es": EVOLUTION | {"optimizer": "open-es"},
    "pgpe": EVOLUTION | {"optimizer": "pgpe"},
    "snes": EVOLUTION | {"optimizer": "snes"},
    "spsa": EVOLUTION | {"optimizer": "spsa"},
}
"""Settings of ``rso train`` by name of the run, without the seed."""
SEEDS = {"slopes": 5, "sgd": 5, "adam": 5}
"""How many runs of each; one of the others."""


if __name__ == "__main__":
    sys.exit(run_experiment("mnist_mlp", RUNS, seeds=SEEDS))
