"""Several devices: what they tell each other, what that costs on a CPU, and on 8 or 512 GPUs.

Three parts, the last of which is worked out and not measured:

- ``volume``: collectives and bytes per visit, column, segment and sweep, read from the programs
  compiled for up to eight CPU devices. No collective inside a visit may grow with the mini-batch;
  that is checked for every program, and ends the script.
- ``seconds``: per cycle of a small network on 1 to 8 devices of one CPU. They share its cores, so
  this shows what dividing the work costs, not what it gains.
- ``predictions``: seconds per visit and cycle on H100s, from ``ASSUMPTIONS`` and from what the
  traced programs compute and add up over the mini-batch, for the paper's CIFAR-10 network and for
  a residual network of ten million weights.

    python experiments/benchmarks/scaling.py
    python experiments/benchmarks/scaling.py --parts predictions

Writes ``experiments/results/benchmarks/scaling.json``. About ten minutes on 2 CPU cores.
"""

import json
import statistics
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import tyro
from _collectives import volume
from _predictions import ASSUMPTIONS, predictions
from tqdm import tqdm

from rso_jax import presets, rso, step
from rso_jax.files import replace_file
from rso_jax.machine import machine
from rso_jax.mesh import CANDIDATE, DATA, make_mesh, place
from rso_jax.networks import create, cross_entropy, loss_of
from rso_jax.search import joint, minibatches, proposals

RESULT = Path(__file__).parents[1] / "results" / "benchmarks" / "scaling.json"
MINIBATCHES = 5
# 13 divides no size of these networks, so it marks the dimensions that grow with the mini-batch.
MARK, BATCHES = 13, (8 * 13, 16 * 13)


@dataclass(frozen=True)
class Options:
    """What several devices tell each other, and what that costs."""

    parts: tuple[str, ...] = ("volume", "seconds", "predictions")


# --- what is communicated, from compiled programs


class Case(NamedTuple):
    """A program to compile."""

    network: str
    array: str
    mesh: str
    """Data x candidate."""
    search: str = "sequential"
    batch: int = BATCHES[0]


FEW = ("conv1/kernel", "conv3/kernel", "conv4/scale", "conv6/kernel", "dense/kernel")
CASES = [
    *(Case("paper-mnist", a, m) for m in ("8x1", "4x2", "2x3", "1x3") for a in FEW),
    *(Case("paper-mnist", "conv3/kernel", m) for m in ("1x1", "2x1", "4x1")),
    *(Case("paper-mnist", "conv3/kernel", m, batch=BATCHES[1]) for m in ("8x1", "4x2", "2x3")),
    *(Case("paper-mnist", "conv3/kernel", m, s) for m in ("4x2", "1x8") for s in ("64", "leaf")),
    *(Case("paper-cifar10", f"conv{i}/kernel", m) for m in ("8x1", "2x3") for i in (1, 5, 9)),
]
SHAPES = {"paper-mnist": (28, 28, 1), "paper-cifar10": (32, 32, 3)}
# What a sweep's loops are for, outermost first; a block is one visit.
LEVELS = {
    "sequential": ("sweep", "column", "segment", "visit"),
    "64": ("sweep", "column", "visit"),
    "leaf": ("visit",),
}


def settings_of(search: str) -> dict[str, Any]:
    """Keyword arguments of ``rso``; candidates side by side, as on an accelerator."""
    if search == "leaf":
        # Every weight probed once, and one joint step.
        whole: dict[str, Any] = {
            "proposal": proposals.one_way(proposals.fixed_distance, scale=0.1),
            "minibatches": minibatches.per_leaf,
            "block": joint.Block("leaf", joint.accepted((1.0,))),
        }
        return presets.authors_code(100, weight_decay=0.0) | whole | {"candidate_axis": "vmap"}
    block = {"block": joint.Block(int(search), joint.parabola())} if search != "sequential" else {}
    return presets.authors_code(50) | block | {"candidate_axis": "vmap"}


def compile_case(case: Case) -> tuple[str, str]:
    """HLO of what prepares a sweep, and of the sweep. Nothing is run."""
    key, shape = jax.random.key(0), SHAPES[case.network]
    network = create(case.network, shape, 10)
    mesh = make_mesh(*map(int, case.mesh.split("x")))
    search = rso(loss_of(network, sum_loss), mesh=mesh, **settings_of(case.search))
    state = search.init(key, network.init(key, jnp.zeros((1, *shape))))
    count = MINIBATCHES, case.batch
    stack = {"image": jnp.zeros((*count, *shape)), "label": jnp.zeros(count, jnp.int32)}
    stack = place(mesh, stack, None, DATA)
    stage = next(s for s in search.stages(key, state, stack) if s.name == case.array)
    prepare = jax.jit(lambda key, state, stack: search.prepare(key, state, stage, stack))
    prepared = prepare.lower(key, state, stack).compile()
    drawn = jax.tree.map(
        lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s),
        jax.eval_shape(prepare, key, state, stack),
        prepared.output_shardings,
    )
    sweep = jax.jit(lambda key, state, p: search.advance(key, state, stage, p, 0, stage.visits))
    return prepared.as_text(), sweep.lower(key, state, drawn).compile().as_text()


sum_loss = partial(cross_entropy, reduction="sum")


def measure_volume() -> list[dict[str, Any]]:
    """A row for every case."""
    rows = []
    for case in tqdm(CASES, unit="program"):
        prepare, sweep = compile_case(case)
        d, c = map(int, case.mesh.split("x"))
        shape = {DATA: d, CANDIDATE: c}
        found = volume(prepare, shape, ("prepare",), MARK)
        found |= volume(sweep, shape, LEVELS[case.search], MARK)
        rows.append(case._asdict() | {"minibatches": MINIBATCHES, "communicated": found})
    return rows


def complaints(rows: list[dict[str, Any]]) -> list[str]:
    """What is communicated inside visits and should not be."""
    found, by_case = [], {}
    for row in rows:
        visit = row["communicated"].get("visit", {})
        case = " ".join(row[name] for name in ("network", "array", "mesh", "search"))
        found += [f"{case}: {' '.join(shapes)}" for shapes in visit.get("grow_with_batch", [])]
        if visit.get("payload") != by_case.setdefault(case, visit.get("payload")):
            found.append(f"{case}: not the same bytes for another mini-batch")
    return found


# --- seconds of a cycle, on devices that share the cores


def measure_seconds() -> list[dict[str, Any]]:
    """Of a perceptron on digits, on both axes: the work stays the same, or grows with them."""
    from rso_jax.data.digits import load_digits

    data, key = load_digits(), jax.random.key(0)
    network = create("mlp", (8, 8, 1), 10, hidden=(8,))
    rows = []
    # By the weights of a block; 0 for one at a time.
    ways = [("strong", d, 1, 1424, 0) for d in (1, 2, 4, 8)]
    ways += [("weak", d, 1, 178 * d, 0) for d in (1, 2, 4, 8)] + [("strong", 1, 3, 1424, 0)]
    ways += [("strong", 1, c, 178, 64) for c in (1, 2, 4, 8)]
    ways += [("weak", 1, c, 178, 8 * c) for c in (1, 2, 4, 8)]
    for way, d, c, size, weights in tqdm(ways, unit="mesh"):
        mesh = make_mesh(d, c)
        how = presets.authors_code(5)
        if weights:
            how["block"] = joint.Block(weights, joint.parabola())
        search = rso(loss_of(network, sum_loss), mesh=mesh, **how)
        state = search.init(key, network.init(key, jnp.zeros((1, 8, 8, 1))))
        stack = {"image": data.x_train[None, :size], "label": data.y_train[None, :size]}
        stack, taken = place(mesh, stack, None, DATA), []
        for cycle in range(4):
            began = time.perf_counter()
            state, info = step(search, jax.random.fold_in(key, cycle), state, stack)
            jax.block_until_ready(state.params)
            taken.append(time.perf_counter() - began)
        row = {"scaling": way, "mesh": f"{d}x{c}", "batch": size, "block": weights}
        row |= {"visits": info.visits, "decisions": info.decisions}
        row["seconds_per_cycle"] = round(statistics.median(taken[1:]), 3)
        decided = 1e3 * row["seconds_per_cycle"] / info.decisions
        rows.append(row | {"ms_per_decision": round(decided, 3)})
    return rows


# --- the file and the tables


def show(stored: dict[str, Any]) -> None:
    """Print the tables."""
    for row in stored.get("volume", []):
        case = " ".join(str(row[n]) for n in ("network", "array", "mesh", "search", "batch"))
        levels = row["communicated"].items()
        told = (f"{name} {x['collectives']} ({x['payload']} B)" for name, x in levels)
        print(f"{case:<48}", ", ".join(told))
    for row in stored.get("seconds", []):
        print(row)
    for network in stored.get("predictions", []):
        print(f"\n{network['network']}, {network['weights']:,} weights, {network['search']}")
        for row in network["meshes"]:
            parts = "".join(f"{n} {v:<10}" for n, v in row["us_per_weight"].items())
            print(f"{row['mesh']:>6} {row['seconds_per_cycle']:>9} s a cycle; us a weight: {parts}")


def main(options: Options) -> None:
    """Measure, work out, write, print, and complain."""
    jax.config.update("jax_num_cpu_devices", 8)
    stored, wrong = json.loads(RESULT.read_text()) if RESULT.is_file() else {}, []
    stored |= {
        "what": "collectives of compiled searches; seconds on one CPU; worked out for H100s",
        **machine(),
        "assumptions": {n: {"value": v, "what": w} for n, (v, w) in ASSUMPTIONS.items()},
    }
    parts = {"volume": measure_volume, "seconds": measure_seconds, "predictions": predictions}
    for name in options.parts:
        stored[name] = parts[name]()
        stored["grow_with_batch_in_visits"] = wrong = complaints(stored.get("volume", []))
        replace_file(RESULT, json.dumps(stored, indent=1) + "\n")
    show(stored)
    if wrong:
        raise SystemExit("\n".join(["inside visits, activations are communicated:", *wrong]))


if __name__ == "__main__":
    main(tyro.cli(Options))
