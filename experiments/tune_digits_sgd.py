"""Learning rate of the SGD baseline on digits, chosen on held-out training images.

A fifth of the training images (stratified, fixed) is held out and scored instead of the test
images, which are never looked at. Mean over 3 seeds, 30 epochs, batch 128.

    python experiments/tune_digits_sgd.py
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split

from rso_jax.cli.config import Train
from rso_jax.cli.train import run_train
from rso_jax.data import load

RESULT = Path(__file__).parent / "results" / "digits" / "tuning.json"
RATES = (0.01, 0.03, 0.1, 0.3, 1.0)
SEEDS = range(3)


def main() -> int:
    """Run the grid and write the choice."""
    data = load("digits")
    x, x_held, y, y_held = train_test_split(
        data.x_train, data.y_train, test_size=0.2, random_state=0, stratify=data.y_train
    )
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        split = Path(scratch) / "digits_split.npz"
        np.savez(split, x_train=x, y_train=y, x_test=x_held, y_test=y_held)
        for rate in RATES:
            scores = []
            for seed in SEEDS:
                run = Path(scratch) / f"{rate}-{seed}"
                config = Train(
                    dataset=str(split),
                    optimizer="sgd",
                    cycles=30,
                    batch_size=(128,),
                    learning_rate=rate,
                    seed=seed,
                    out=run,
                )
                if status := run_train(config):
                    return status
                last = (run / "metrics.jsonl").read_text().splitlines()[-1]
                scores.append(json.loads(last)["test_accuracy"])
            rows.append(
                {
                    "learning_rate": rate,
                    "held_out_accuracy": scores,
                    "mean": round(float(np.mean(scores)), 5),
                }
            )
    best = max(rows, key=lambda row: row["mean"])
    found = {
        "what": "SGD on digits, accuracy on held-out training images, 30 epochs, batch 128",
        "grid": rows,
        "chosen_learning_rate": best["learning_rate"],
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=2) + "\n")
    print(f"chosen learning rate {best['learning_rate']}, wrote {RESULT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
