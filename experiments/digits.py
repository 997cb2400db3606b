"""scikit-learn's digits by RSO, slopes and all baselines, 5 seeds each: the README's first table.

A 64-64-10 network with batch norm (4,884 weights), 1,437 training and 360 test images. RSO by
preset ``authors_code``, 3 cycles, every visit on all training images. Slopes by the probes that
cost least, and by ``spectral``. Settings of all but RSO and ``spectral`` are those that ``tune.py``
chose on held-out training images. Gradient methods run 30 epochs; slopes 12, in a tenth of RSO's
image evaluations; evolution strategies and SPSA 400 at a population of 64, so many fewer at a
larger one. About 20 minutes on 2 CPU cores.

    python experiments/digits.py
"""

import sys
from typing import Any

from frozen import run_experiment

SEEDS = 5
RUNS: dict[str, dict[str, Any]] = {
    "rso": {"dataset": "digits", "preset": "authors_code", "cycles": 3},
    "slopes": {"dataset": "digits", "optimizer": "slopes", "cycles": 12},
    "spectral": {
        "dataset": "digits",
        "optimizer": "slopes",
        "preset": "spectral",
        "cycles": 150,
    },
    "sgd": {"dataset": "digits", "optimizer": "sgd", "cycles": 30},
    "adam": {"dataset": "digits", "optimizer": "adam", "cycles": 30},
    "open-es": {"dataset": "digits", "optimizer": "open-es", "cycles": 400, "score_every": 5},
    "pgpe": {"dataset": "digits", "optimizer": "pgpe", "cycles": 400, "score_every": 5},
    "snes": {"dataset": "digits", "optimizer": "snes", "cycles": 400, "score_every": 5},
    "spsa": {"dataset": "digits", "optimizer": "spsa", "cycles": 400, "score_every": 5},
}
"""Settings of ``rso train`` by name of the run, without the seed."""


if __name__ == "__main__":
    sys.exit(run_experiment("digits", RUNS, seeds=SEEDS))
