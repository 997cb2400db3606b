"""MNIST, the paper's network (12,016 weights), by RSO and the baselines.

``rso`` is preset ``authors_code`` at a mini-batch of 2000, as far as 2 CPU cores go: 10 cycles.
``rso-paper`` is what the paper ran, 50 cycles at 5000; it wants an accelerator and is not run
unless named. ``spectral`` has about a quarter of the image evaluations of ``rso``. The baselines'
settings are those that ``tune.py`` chose on held-out training images. ``open-es`` has 5 epochs,
``pgpe`` one, which is about 10 minutes. Each of the others takes a
large part of an hour to several hours on 2 cores.

``rso-heads`` is the same search of the network with heads: each weight is decided on the loss of
its own layer, 10 cycles at a mini-batch of 5000; ``rso-heads-5`` has 5, over which its steps get
smaller.

``local`` gives every convolution a head, 15,360 weights in all, and with it a loss of its own
(``docs/local_losses.md``); slopes are told by ``cheapest`` probes on mini-batches of 128, 1000
steps of them, in ``local-short`` 160, in ``local-shifted`` 2400 and in ``local-half-hour-shifted``
7500 on training images moved at random by up to two pixels. What is scored is the
log-probabilities of all heads but the first two, added. This readout and the learning rate of the
short run were chosen by ``local_rates.py`` on held-out training images, with exact gradients of
each layer's own loss standing in for slopes, to save time; longer runs have half that rate.

``local-global`` begins where ``local`` ends, leaves the heads out, and takes 1000 steps of the last
convolution and the last layer along slopes of the network's own loss: what is scored is the
published network. It has the settings of ``local``; none was chosen for it.

``adam-heads`` has the same heads and readout, and lowers the sum of all losses along gradients;
``adam-10`` is the network without heads for as many epochs. Both have the settings of ``adam``.

    python experiments/mnist.py --data-dir DIR --max-minutes 60
"""

import sys
from collections.abc import Mapping
from typing import Any

from frozen import run_experiment

ON_AN_ACCELERATOR = ("rso-paper",)
HEADS: dict[str, Any] = {"heads": 4, "readout": "heads", "first_head": 3}
"""Bins a side, and what is scored."""
STEP: dict[str, Any] = {"step": "muon", "learning_rate": 0.1, "momentum": 0.9}
SLOPES: dict[str, Any] = {
    "optimizer": "slopes",
    "preset": "paper",
    "batch_size": (128,),
    "batches_per_cycle": 100,
} | STEP
LOCAL: dict[str, Any] = SLOPES | HEADS
"""Slopes by local losses; how many cycles is left open."""
SHORT = {"learning_rate": 0.2, "batches_per_cycle": 40}
LOCAL_RUNS: dict[str, dict[str, Any]] = {
    "local": LOCAL | {"cycles": 10},
    "local-short": LOCAL | SHORT | {"cycles": 4},
    "local-global": SLOPES | {"start": "local", "only": ("conv6", "dense"), "cycles": 10},
    "local-shifted": LOCAL | {"cycles": 24, "shift": 2},
    "local-half-hour-shifted": LOCAL | {"cycles": 75, "shift": 2},
}
SEEDS = {"local": 3, "local-short": 3, "local-global": 3}
"""How many runs of each; one of the others."""


def runs_on(
    dataset: str,
    cycles: int,
    local: Mapping[str, Mapping[str, Any]],
    evolution: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Settings of ``rso train`` by name of the run, without the seed.

    Args:
        dataset: of images that the paper's MNIST network takes.
        cycles: of ``rso``.
        local: runs by local losses, likewise, without the data set.
        evolution: runs of methods with a population, likewise.
    """
    runs: dict[str, dict[str, Any]] = {
        "rso": {"preset": "authors_code", "cycles": cycles, "batch_size": (2000,)},
        "rso-paper": {"preset": "authors_code", "cycles": 50, "batch_size": (5000,)},
        "rso-heads-5": {"preset": "authors_code", "cycles": 5, "batch_size": (5000,)} | HEADS,
        "rso-heads": {"preset": "authors_code", "cycles": 10, "batch_size": (5000,)} | HEADS,
        **{name: dict(run) for name, run in local.items()},
        "spectral": {"optimizer": "slopes", "preset": "spectral", "cycles": 238},
        "sgd": {"optimizer": "sgd", "cycles": 50},
        "adam": {"optimizer": "adam", "cycles": 50},
        "adam-10": {"optimizer": "adam", "cycles": 10},
        "adam-heads": {"optimizer": "adam", "cycles": 10} | HEADS,
        **{name: dict(run) for name, run in evolution.items()},
    }
    return {name: {"dataset": dataset} | run for name, run in runs.items()}


EVOLUTION: dict[str, dict[str, Any]] = {
    "open-es": {"optimizer": "open-es", "cycles": 5},
    "pgpe": {"optimizer": "pgpe", "cycles": 1},
}
ELSEWHERE: dict[str, dict[str, Any]] = {
    name: run | {"cycles": 1, "chosen_on": "mnist"} for name, run in EVOLUTION.items()
}
"""On other data: as ``local``, by the settings chosen for MNIST."""

RUNS = runs_on("mnist", cycles=10, local=LOCAL_RUNS, evolution=EVOLUTION)


if __name__ == "__main__":
    sys.exit(run_experiment("mnist", RUNS, seeds=SEEDS, unless_named=ON_AN_ACCELERATOR))
