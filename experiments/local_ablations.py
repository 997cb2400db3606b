"""What the parts of local losses are good for: ``local-short`` of ``mnist.py``, one thing changed.

Bins of the heads, losses that a layer looks ahead, probes; and every readout of the reference.
Trained on 50,000 training images of MNIST and scored on the other 10,000; seed 0, four cycles of 40
mini-batches, at the rate of ``local-short``. Test images are not looked at.

    python experiments/local_ablations.py --data-dir DIR

Writes ``experiments/results/mnist/local_ablations.json``; what is there already is not run again.
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import tyro
from command import run_settings
from discrete_rates import hold_out
from frozen import RESULTS, OptionalPath
from local_rates import make_network, score_all, ways_to_read
from mnist import LOCAL_RUNS

from rso_jax.cli.compiled import keep_compiled_programs
from rso_jax.data import load, normalize
from rso_jax.errors import UserError
from rso_jax.files import replace_file
from rso_jax.machine import machine
from rso_jax.training.run_folder import PARAMS, read_metrics, read_params

RESULT = RESULTS / "mnist" / "local_ablations.json"
REFERENCE = "reference"
BASE = LOCAL_RUNS["local-short"] | {"model": "paper-mnist"}
CHANGES: dict[str, dict[str, Any]] = {
    REFERENCE: {},
    "heads of 1 bin a side": {"heads": 1},
    "heads of 2 bins a side": {"heads": 2},
    "heads of 7 bins a side": {"heads": 7},
    "a layer looks 1 loss ahead": {"look_ahead": 1},
    "a layer looks 2 losses ahead": {"look_ahead": 2},
    "weights are probed": {"probes": "weights"},
    "nodes are probed, positions together": {"probes": "nodes", "positions": "together"},
    "steps of AdamW": {"step": "adamw", "learning_rate": 0.01},
    "steps of SGD": {"step": "sgd", "learning_rate": 0.1},
    "half the learning rate": {"learning_rate": 0.1},
}
"""Settings that differ from the reference's, by name."""


@dataclass(frozen=True)
class Options:
    """Run what is missing."""

    data_dir: OptionalPath = None
    """Folder of prepared tensorflow-datasets; see `rso data list`."""
    result: Path = RESULT


def main(options: Options) -> None:
    """Measure change by change; the file is written after each."""
    stored = json.loads(options.result.read_text()) if options.result.exists() else {}
    rows = stored.get("rows", {})
    with tempfile.TemporaryDirectory() as scratch:
        split = hold_out(options.data_dir, Path(scratch))
        for number, (name, change) in enumerate(CHANGES.items()):
            if name in rows:
                continue
            folder = Path(scratch) / str(number)
            rows[name] = measure(change, split, folder, read_all=name == REFERENCE)
            found = {"settings": BASE, "rows": rows, **machine()}
            options.result.parent.mkdir(parents=True, exist_ok=True)
            replace_file(options.result, json.dumps(found, indent=2) + "\n")
            print(f"{name}: {rows[name]['held_out_accuracy']:.2%}", flush=True)


def measure(
    change: Mapping[str, Any], split: Path, folder: Path, *, read_all: bool
) -> dict[str, Any]:
    """One run: what is scored, seconds, image evaluations."""
    settings = BASE | {"dataset": str(split)} | dict(change)
    if status := run_settings(folder, settings | {"seed": 0}):
        sys.exit(status)
    last = read_metrics(folder)[-1]
    row = {
        "change": dict(change),
        "held_out_accuracy": last["test_accuracy"],
        "seconds": last["seconds"],
        "image_evaluations": last["image_evaluations"],
    }
    return row | ({"readouts": score_readouts(split, folder)} if read_all else {})


def score_readouts(split: Path, folder: Path) -> dict[str, float]:
    """Held-out accuracy of a run by every readout."""
    data = normalize(load(str(split)), "standardize")
    networks = {name: make_network(data, readout) for name, readout in ways_to_read().items()}
    network = next(iter(networks.values()))
    like = jax.eval_shape(network.init, jax.random.key(0), data.x_train[:1])
    statistics = jax.eval_shape(network.calibrate, like, data.x_train[:1])
    params, _ = read_params(folder / PARAMS, like, statistics)
    return score_all(networks, params, data)


if __name__ == "__main__":
    keep_compiled_programs()
    try:
        main(tyro.cli(Options, description=__doc__))
    except UserError as error:
        sys.exit(f"error: {error}")
