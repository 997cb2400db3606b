"""MNIST, 784-256-10 without normalisation (203,530 weights), by slopes and what they compare with.

``slopes`` learns the slopes of all weights from one evaluation for each of 266 pre-activations, and
gives them to an optax step, as ``sgd`` and ``adam`` do gradients; ``-shifted``: training images
moved at random by up to two pixels, for longer. The evolution strategies and SPSA have EvoJAX's
budget, 131 million image evaluations: 2000 generations of 64 members on 1024 images. All settings
are those that ``tune.py`` chose on held-out training images; shifted runs have those of the others.

    python experiments/mnist_mlp.py --data-dir DIR --max-minutes 60
"""

import sys
from typing import Any

from frozen import run_experiment

NETWORK: dict[str, Any] = {"model": "mlp", "hidden": (256,), "norm": "none", "preset": "paper"}
DATA = {"dataset": "mnist"} | NETWORK
SHIFTED = DATA | {"shift": 2, "cycles": 160, "batch_size": (128,)}
SGD_128 = {"batch_size": (128,), "learning_rate": 0.03, "weight_decay": 1e-4}
"""SGD at the batch of slopes: of the rates that ``tune.py`` measured there, the best."""
GENERATIONS = {"batch_size": (1024,)}
EVOLUTION = DATA | GENERATIONS | {"cycles": 34}
RUNS: dict[str, dict[str, Any]] = {
    "slopes": DATA | {"optimizer": "slopes", "cycles": 15, "batch_size": (128,)},
    "slopes-shifted": SHIFTED | {"optimizer": "slopes"},
    "sgd": DATA | {"optimizer": "sgd", "cycles": 15},
    "sgd-shifted": SHIFTED | {"optimizer": "sgd"},
    "sgd-128": DATA | {"optimizer": "sgd", "cycles": 15, **SGD_128},
    "adam": DATA | {"optimizer": "adam", "cycles": 15},
    "open-es": EVOLUTION | {"optimizer": "open-es"},
    "pgpe": EVOLUTION | {"optimizer": "pgpe"},
    "snes": EVOLUTION | {"optimizer": "snes"},
    "spsa": EVOLUTION | {"optimizer": "spsa"},
}
"""Settings of ``rso train`` by name of the run, without the seed."""
SEEDS = {"slopes": 5, "sgd": 5, "sgd-128": 5, "adam": 5}
"""How many runs of each; one of the others."""


if __name__ == "__main__":
    sys.exit(run_experiment("mnist_mlp", RUNS, seeds=SEEDS))
