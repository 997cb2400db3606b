"""scikit-learn's digits by RSO and by SGD, 5 seeds each: the first table of the README.

A 64-64-10 network with batch norm (4,884 weights), 1,437 training and 360 test images. RSO:
preset authors_code, 3 cycles, every visit on all training images. SGD: Nesterov momentum 0.9,
cosine schedule, batch 128, 30 epochs, learning rate from ``tune_digits_sgd.py``, which looks at
held-out training images only. About 2 minutes on 2 CPU cores.

    python experiments/digits.py

Each run ends as a folder under ``experiments/results/digits/`` that ``rso evaluate`` scores
again. Runs that are there already are left alone; an interrupted one goes on.
"""

import json
import shutil
import sys
from pathlib import Path

from rso_jax.cli.config import Train
from rso_jax.cli.train import run_train

RESULTS = Path(__file__).parent / "results" / "digits"
SEEDS = range(5)
KEPT = ("config.json", "metrics.jsonl", "params.npz")


def settings() -> dict[str, dict]:
    """Settings by name of the run, without the seed."""
    tuned = json.loads((RESULTS / "tuning.json").read_text())
    rate = tuned["chosen_learning_rate"]
    return {
        "rso": {"optimizer": "rso", "cycles": 3},
        "sgd": {"optimizer": "sgd", "cycles": 30, "batch_size": (128,), "learning_rate": rate},
    }


def main() -> int:
    """Run what is missing; exit status as of ``rso train``."""
    for seed in SEEDS:
        for name, chosen in settings().items():
            result = RESULTS / f"{name}-seed{seed}"
            if (result / "params.npz").exists():
                continue
            run = Path("runs") / f"experiment-digits-{name}-seed{seed}"
            goes_on = run.exists()
            where = {"resume": run} if goes_on else {"out": run}
            status = run_train(Train(dataset="digits", seed=seed, **chosen, **where))
            if status:
                return status
            result.mkdir(parents=True, exist_ok=True)
            for file in KEPT:
                shutil.copy(run / file, result / file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
