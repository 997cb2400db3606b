"""CIFAR-10 (JPEG), the paper's residual network (57,104 weights), by RSO and SGD.

The images of the prepared data set went through lossy JPEG, so that figures compare with each
other and not with those of the original images. ``rso-part`` is one cycle on the first 5,000
training images at a mini-batch of 500, which is what 2 CPU cores can do, and
``sgd-part`` SGD on the same images; ``rso-paper`` is what the paper ran, 500 cycles at 5000, and is
not run unless named. SGD and Adam: 20 epochs, settings from ``tune.py``; ``adam-heads`` is Adam on
the network of ``local``, on the sum of all losses.

``local`` gives every convolution a head, and with it a loss of its own (``docs/local_losses.md``):
2000 mini-batches of 128 images, flipped at random. Its settings are those of ``mnist.py``; as there
the log-probabilities of all heads but the first third are added. ``open-es`` and ``pgpe`` have the
settings of ``mnist.py``, too, and one epoch.

``local-evening`` takes two hours: 7500 mini-batches, of images that are moved at random by up to
two pixels, too, and heads of 8 bins a side, those from the third on added, as on MNIST. On held-out
training images two pixels gained on four, and 8 bins on 4; no shift and both together were not
tried there (``local_ceilings.py``).

``local-long`` is what an accelerator does in minutes: 150 passes over images that are moved at
random by up to two pixels, too, in mini-batches of 512, at the rate of ``local``. In ``local-wide``
every head has a hidden layer of 64, and there are 50 passes. Both follow ``local_ceilings.py``,
which compared, by held-out training images and one at a time, two pixels with four, the rate with
twice that, and hidden layers with none; never both together. Neither is run unless named.

    python experiments/cifar10.py --data-dir DIR --max-minutes 60
"""

import sys
from typing import Any

from frozen import run_experiment
from mnist import ELSEWHERE, HEADS, LOCAL

UNLESS_NAMED = ("rso-paper", "local-evening", "local-long", "local-wide")
LONG = {
    "batch_size": (512,),
    "first_head": 4,
    "cycles": 150,
    "batches_per_cycle": 97,
    "flip": True,
    "shift": 2,
    "score_every": 10,
}
EVENING = {"heads": 8, "cycles": 75, "flip": True, "shift": 2}
WIDE = LONG | {"first_head": 1, "head_width": 64, "cycles": 50}
DATA = {"dataset": "cifar10"}
PART = DATA | {"train_examples": 5000}
RUNS: dict[str, dict[str, Any]] = {
    "rso-part": PART | {"preset": "authors_code", "cycles": 1, "batch_size": (500,)},
    "rso-paper": DATA | {"preset": "authors_code", "cycles": 500, "batch_size": (5000,)},
    "local": DATA | LOCAL | {"first_head": 4, "cycles": 20, "flip": True},
    "local-evening": DATA | LOCAL | EVENING,
    "local-long": DATA | LOCAL | LONG,
    "local-wide": DATA | LOCAL | WIDE,
    "sgd": DATA | {"optimizer": "sgd", "cycles": 20},
    "sgd-part": PART | {"optimizer": "sgd", "cycles": 20},
    "adam": DATA | {"optimizer": "adam", "cycles": 20},
    "adam-heads": DATA | {"optimizer": "adam", "cycles": 20} | HEADS | {"first_head": 4},
    **{name: DATA | run for name, run in ELSEWHERE.items()},
}
"""Settings of ``rso train`` by name of the run, without the seed."""


if __name__ == "__main__":
    sys.exit(run_experiment("cifar10", RUNS, unless_named=UNLESS_NAMED))
