"""What a candidate costs where a network slices, pads, concatenates, groups, gathers or loops.

For each network of ``_cliff_networks``: operations of the products and convolutions of a candidate
over those of a forward pass, by column programs, the mean over all weights. Counted from shapes;
nothing is computed.

    python experiments/benchmarks/cliffs.py
    python experiments/benchmarks/cliffs.py --networks U-Net LeNet

Writes ``experiments/results/benchmarks/cliffs.json``: what is ``reached`` beside the ``target``
and what was counted ``before``, at a commit that is named. Minutes on one CPU core.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from _cliff_networks import NETWORKS, Problem

import rso_jax
from rso_jax.files import replace_file
from rso_jax.incremental import column_program, count_flops
from rso_jax.leaves import describe_leaves, loss_of_columns, with_columns
from rso_jax.machine import machine
from rso_jax.search.cost import scoring

RESULT = Path(__file__).parents[1] / "results" / "benchmarks" / "cliffs.json"
TARGETS = {
    "strided slicing, roll, flip": 0.012,
    "circular padding": 0.03,
    "LeNet, convolutions": "LeNet pooled, convolutions",
    "U-Net": 0.25,
    "DenseNet": 0.15,
    "ShuffleNet": 0.15,
    "ResNet, GroupNorm": 0.09,
    "MobileNetV2": 0.12,
    "packed q, k, v, heads split": 0.2,
    "maxout": 0.1,
    "gated split": 0.1,
    "transformer, nn.scan": "transformer, unrolled",
    "two-layer LSTM": 0.5,
    "bag of words": 0.05,
}
"""Shares to be reached; a name is for as much as that network's."""


@dataclass(frozen=True)
class Options:
    """Count what a candidate costs in networks that are hard to see through."""

    networks: tuple[str, ...] = ()
    """Those whose name begins so; all by default."""
    before: bool = False
    """What is counted now is what others are compared with."""


def share(problem: Problem, kernels_of: str = "") -> float:
    """Operations of a candidate over those of a forward pass, the mean over weights.

    Args:
        problem: loss, parameters, mini-batch.
        kernels_of: only leaves with this in their path.
    """
    loss_fn, params, batch = problem
    forward = count_flops(loss_fn, params, batch)
    operations = weights = 0
    for leaf in describe_leaves(loss_fn, params, batch):
        if kernels_of not in leaf.path:
            continue
        of_columns, by_columns = loss_of_columns(loss_fn, leaf), with_columns(params, leaf)
        program = column_program(of_columns, by_columns, batch, leaf.position)
        score, given = scoring(program, by_columns, batch, leaf)
        operations += leaf.visits * count_flops(score, *given)
        weights += leaf.visits
    return operations / (weights * forward)


def count(name: str) -> float:
    """The share of a network, rounded."""
    return round(share(NETWORKS[name](), "Conv" if name.endswith("convolutions") else ""), 4)


def commit() -> str:
    """Of the package that is run."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    where = Path(rso_jax.__file__).parent
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main(options: Options) -> None:
    """Count what is asked for; print and write."""
    stored: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    asked = options.networks or ("",)
    names = [name for name in NETWORKS if name.startswith(asked)]
    now = "before" if options.before else "reached"
    stored |= {
        "what": "operations of products and convolutions of a candidate over those of a forward "
        "pass, the mean over all weights",
        "settings": {"batch_size": 8},
        **machine(),
        "target": TARGETS,
    }
    found = stored.setdefault(now, {"share": {}})
    found["commit"] = commit()
    for name in names:
        found["share"][name] = count(name)
        figures = {
            of: stored.get(of, {}).get("share", {}).get(name) for of in ("before", "reached")
        }
        print(f"{name:30}", figures | {"target": TARGETS.get(name)}, flush=True)
        RESULT.parent.mkdir(parents=True, exist_ok=True)
        replace_file(RESULT, json.dumps(stored, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
