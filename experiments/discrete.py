"""Networks that take few values, on MNIST: slopes from evaluations, straight-through gradients.

Networks: a perceptron of sign activations with one hidden layer of 256 units or three of 200, the
paper's convolutional network with sign activations, the same with ternary or with binary kernels,
and a perceptron 784-256-10 of 8-bit weights and activations. ``-heads`` gives every layer a head,
and with it a loss of its own; the log-probabilities of heads are added where that is what is
scored. ``-slopes`` evaluates the network as it is, its kernels on their grid; ``-gradients`` is
Adam along straight-through estimators in the same loop, at the same batch, with its rate and its
window chosen; ``-open-es`` moves all weights at random. ``float-slopes`` is the perceptron in
32-bit numbers, by the settings of ``int8-slopes``; binary networks have those of ternary ones.

Settings were chosen by ``discrete_rates.py`` on held-out training images, in shorter runs; Open_ES
has those of the perceptron in 32-bit numbers (``mnist_mlp.py``).

    python experiments/discrete.py --data-dir DIR --max-minutes 60
"""

import json
import sys
from typing import Any

from frozen import RESULTS, run_experiment

CHOSEN = RESULTS / "discrete" / "chosen.json"
DATA: dict[str, Any] = {"dataset": "mnist", "preset": "paper", "batch_size": (128,)}
MLP: dict[str, Any] = DATA | {"model": "mlp", "norm": "none"}
ONE = MLP | {"hidden": (256,), "activation": "sign"}
THREE = MLP | {"hidden": (200, 200, 200), "activation": "sign"}
OF_THREE = THREE | {"heads": 1, "readout": "heads", "first_head": 1}
INT8 = MLP | {"hidden": (256,), "activation": "int8", "weights": "int8"}
PAPER = DATA | {"model": "paper-mnist"}
OF_PAPER = PAPER | {"heads": 4, "readout": "heads", "first_head": 3}
SLOPES: dict[str, Any] = {"optimizer": "slopes", "step": "adamw"}
TOWARDS = SLOPES | {"probes": "towards"}
LOCAL = {"optimizer": "slopes", "step": "muon", "batches_per_cycle": 100}
ADAM = {"optimizer": "adam"}
EPOCHS = {"cycles": 15}

RUNS: dict[str, dict[str, Any]] = {
    "sign-1-slopes": ONE | TOWARDS | EPOCHS,
    "sign-1-gradients": ONE | ADAM | EPOCHS,
    "sign-1-open-es": ONE | {"optimizer": "open-es", "cycles": 2, "chosen_on": "mnist_mlp"},
    "sign-3-heads-slopes": OF_THREE | TOWARDS | EPOCHS,
    "sign-3-heads-gradients": OF_THREE | ADAM | EPOCHS,
    "sign-3-gradients": THREE | ADAM | EPOCHS,
    "sign-conv-heads-slopes": OF_PAPER | {"activation": "sign"} | LOCAL | {"cycles": 10},
    "sign-conv-heads-gradients": OF_PAPER | {"activation": "sign"} | ADAM | {"cycles": 5},
    "ternary-heads-slopes": OF_PAPER | {"weights": "ternary"} | LOCAL | {"cycles": 10},
    "ternary-heads-gradients": OF_PAPER | {"weights": "ternary"} | ADAM | {"cycles": 5},
    "binary-heads-slopes": OF_PAPER | {"weights": "binary"} | LOCAL | {"cycles": 10},
    "binary-heads-gradients": OF_PAPER | {"weights": "binary"} | ADAM | {"cycles": 5},
    "int8-slopes": INT8 | SLOPES | EPOCHS,
    "int8-gradients": INT8 | ADAM | EPOCHS,
    "float-slopes": MLP | {"hidden": (256,)} | SLOPES | EPOCHS,
}
"""Settings of ``rso train`` by name of the run, without those chosen and the seed."""
AS = {
    "float-slopes": "int8-slopes",
    "binary-heads-slopes": "ternary-heads-slopes",
    "binary-heads-gradients": "ternary-heads-gradients",
}
"""Whose settings a run has for which none are chosen."""
CONVOLUTIONAL = tuple(run for run in RUNS if "conv" in run or "nary" in run)
SEEDS = dict.fromkeys(RUNS, 3) | dict.fromkeys((*CONVOLUTIONAL, "sign-1-open-es"), 1)
"""How many runs of each; one of what takes minutes."""


def chosen(run: str) -> dict[str, Any]:
    """What ``discrete_rates.py`` chose for a run; nothing while it has not."""
    found = json.loads(CHOSEN.read_text()) if CHOSEN.exists() else {}
    settings: dict[str, Any] = found.get(AS.get(run, run), {}).get("chosen", {})
    return settings


if __name__ == "__main__":
    ready = {
        run: settings | chosen(run)
        for run, settings in RUNS.items()
        if chosen(run) or "chosen_on" in settings
    }
    sys.exit(run_experiment("discrete", ready, seeds=SEEDS))
