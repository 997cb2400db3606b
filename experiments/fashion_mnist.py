"""Fashion-MNIST, the paper's MNIST network (12,016 weights), by RSO and the baselines.

As ``mnist.py``, but 3 cycles of RSO, which are about as many image evaluations as ``spectral`` has.
The settings of gradient methods are chosen anew, on held-out training images of this data set.
``local`` has twice as many steps as on MNIST, and the same settings, chosen there; so have
``open-es`` and ``pgpe``, with one epoch, which takes about as long as ``local``.

    python experiments/fashion_mnist.py --data-dir DIR --max-minutes 60
"""

import sys

from frozen import run_experiment
from mnist import ELSEWHERE, LOCAL, ON_AN_ACCELERATOR, runs_on

LOCAL_CYCLES = 20

RUNS = runs_on(
    "fashion_mnist",
    cycles=3,
    local={"local": LOCAL | {"cycles": LOCAL_CYCLES}},
    evolution=ELSEWHERE,
)


if __name__ == "__main__":
    sys.exit(run_experiment("fashion_mnist", RUNS, unless_named=ON_AN_ACCELERATOR))
