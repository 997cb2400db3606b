"""EvoJAX's network for MNIST (11,274 weights) on EvoJAX's budget: slopes beside evolution.

Two 5x5 convolutions of 8 and 16 filters and ten logits. EvoJAX's examples train it for 2000
generations of 64 members on 1024 images, 131 million image evaluations, which is what every method
without gradients has here: 34 epochs of 64 evaluations a mini-batch, so many fewer at a larger
population. An evaluation of ``slopes`` moves a whole column, at all positions at once: 69 for a
mini-batch, 31 epochs. SGD, by gradients, for comparison. All settings are those that ``tune.py``
chose on held-out training images.

    python experiments/evojax.py --data-dir DIR --max-minutes 60
"""

import sys
from typing import Any

from frozen import run_experiment

NETWORK = {"model": "evojax-mnist"}
DATA = {"dataset": "mnist"} | NETWORK
EVOLUTION = DATA | {"cycles": 34}
RUNS: dict[str, dict[str, Any]] = {
    "slopes": DATA | {"optimizer": "slopes", "positions": "together", "cycles": 31},
    "open-es": EVOLUTION | {"optimizer": "open-es"},
    "pgpe": EVOLUTION | {"optimizer": "pgpe"},
    "snes": EVOLUTION | {"optimizer": "snes"},
    "sgd": DATA | {"optimizer": "sgd", "cycles": 15},
}
"""Settings of ``rso train`` by name of the run, without the seed."""


if __name__ == "__main__":
    sys.exit(run_experiment("evojax", RUNS))
