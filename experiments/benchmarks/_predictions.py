"""What a visit would take on H100s: worked out from traced programs and assumptions, not measured.

Work is counted in the programs that a GPU would run; hardware is the table ``ASSUMPTIONS``. For the
paper's CIFAR-10 network and for a residual network of ten million weights.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
from tqdm import tqdm

from rso_jax.leaves import describe_leaves, shapes_of
from rso_jax.mesh import CANDIDATE, DATA
from rso_jax.networks import create, cross_entropy, linen_network, loss_of
from rso_jax.networks.layers import Convolution
from rso_jax.search import joint, proposals
from rso_jax.search.acceptance import greedy
from rso_jax.search.cost import cost_of_sweep
from rso_jax.search.minibatches import cycled, per_leaf
from rso_jax.search.plan import plan_sweep, program_of
from rso_jax.search.sweep import Pieces
from rso_jax.stacks import one_of_stack

_NCCL = "NCCL's own model of small messages, github.com/NVIDIA/nccl src/graph/tuning.cc"
ASSUMPTIONS = {
    "flops": (
        20e12,
        "FLOP/s achieved; assumed 30 % of 67 TFLOP/s FP32 (NVIDIA H100 SXM data sheet)",
    ),
    "memory": (2.3e12, "B/s achieved; assumed 70 % of 3.35 TB/s HBM3 (same)"),
    "memory_kept": (32 * 2**30, "bytes of 80 GB for what a sweep keeps, and as much for scoring"),
    "launch": (3e-6, "s a kernel, launched by the host; assumption"),
    "kernels": (2, "for each convolution, product, pooling and sum: it and one more; assumption"),
    "loop": (10e-6, "s a turn of a loop whose condition the host reads; assumption"),
    "node": (8, "GPUs in a node"),
    "nvlink": (450e9, "B/s and direction of a GPU: 900 GB/s both ways (data sheet)"),
    "infiniband": (50e9, "B/s and direction of a GPU: one 400 Gb/s adapter each"),
    "tree_base": (6.8e-6, f"s of an all-reduce, tree, LL protocol: {_NCCL}"),
    "tree_nvlink": (0.6e-6, "s a step in a node, twice for each other GPU of it (same)"),
    "tree_network": (
        5.0e-6,
        "s a level of the tree of nodes, twice (same); for two nodes that makes 25 us, "
        "and 46 were measured on H20s (github.com/NVIDIA/nccl issue 1244)",
    ),
    "ring_base": (6.6e-6, "s of an all-gather, ring, LL protocol (same)"),
    "ring_nvlink": (0.6e-6, "s a step in a node (same)"),
    "ring_network": (2.7e-6, "s a step between nodes (same)"),
    "batch": (5120, "examples in a mini-batch: the paper's 5000, divisible by 512"),
    "minibatches": (10, "in the stack"),
}
A = {name: value for name, (value, _) in ASSUMPTIONS.items()}


class Residual(nn.Module):
    """Residual network of about ten million weights for 32x32 images, two blocks a stage."""

    @nn.compact
    def __call__(self, x, *, train=True):
        """Logits [n, 10]."""
        x = Convolution(64, name="first")(x, train=train)
        for width in (64, 128, 256, 480):
            for block in range(2):
                name, pool = f"w{width}b{block}", block == 0 and width > 64
                y = Convolution(width, pool=pool, name=f"{name}a")(nn.relu(x), train=train)
                if pool:
                    x = Convolution(width, 1, pool=True, name=f"{name}s")(x, train=train)
                x = Convolution(width, name=f"{name}b")(nn.relu(y), x, train=train)
        return nn.Dense(10, use_bias=False, name="dense")(x.max((1, 2)))


def equations(jaxpr: Any) -> Iterator[Any]:
    """All equations, those of inner functions too."""
    for eqn in jaxpr.eqns:
        inner = [getattr(v, "jaxpr", v) for v in eqn.params.values()]
        inner = [v for v in inner if hasattr(v, "eqns")]
        yield from (e for v in inner for e in equations(v)) if inner else (eqn,)


def work_of(function: Any, *arguments: Any) -> dict[str, int]:
    """What a traced function would do on a GPU that fuses elementwise work into the rest.

    ``moved``: bytes that convolutions, products, poolings and reductions read and write; ``steps``
    how many there are; ``sums``: those over the mini-batch, each an all-reduce where devices
    divide it; ``summed``: bytes of their results; ``held``: bytes of everything it makes.
    """
    found = dict.fromkeys(("moved", "steps", "sums", "summed", "held"), 0)

    def size(atoms: Any) -> int:
        return sum(v.aval.size * v.aval.dtype.itemsize for v in atoms)

    for eqn in equations(jax.make_jaxpr(function)(*arguments).jaxpr):
        found["held"] += size(eqn.outvars)
        name = eqn.primitive.name
        if name.startswith(("conv_general", "dot_general", "reduce_")):
            found["moved"] += size(eqn.invars) + size(eqn.outvars)
            found["steps"] += 1
            gone = {*eqn.invars[0].aval.shape} - {*eqn.outvars[0].aval.shape}
            if A["batch"] in gone:
                found["sums"] += 1
                found["summed"] += size(eqn.outvars)
    return found


def array_work(loss_fn: Any, params: Any, batches: Any, leaf: Any, parts: int, block: Any):
    """What a sweep of an array takes, where so many devices divide what it keeps."""
    minibatches = per_leaf if block else cycled
    draw = proposals.one_way(proposals.fixed_distance) if block else proposals.normal
    pieces = Pieces(draw, greedy, minibatches, 0.0 if block else 1e-4)
    budget = parts * A["memory_kept"]
    how = {"candidate_axis": "vmap", "memory_budget": budget, "mesh": None}
    batch = one_of_stack(batches)
    # Traced as for a GPU: for a CPU, narrow convolutions are written otherwise.
    with mock.patch.object(jax, "default_backend", return_value="gpu"):
        program = program_of("column", loss_fn, params, batch, leaf)
        plan = plan_sweep(program, params, batches, leaf, pieces=pieces, block=block, **how)
        cost = cost_of_sweep(program, plan, params, batches, leaf, minibatches)
        view, weights, z, _ = shapes_of(program, params, batch, leaf)
        scored = work_of(program.loss, view, weights, z)
        towards = work_of(program.direction, view, view.index)
        made = work_of(program.preactivation, view, weights)
    candidates = plan.evaluations(leaf, 0, leaf.visits)
    return {
        "array": leaf.path,
        "weights": leaf.visits,
        "columns": leaf.columns,
        "mflop_per_candidate": cost.candidate_flops / 1e6,
        "mb_moved_per_candidate": scored["moved"] / 1e6,
        "ahead_gflop": (cost.sweep_flops - candidates * cost.candidate_flops) / 1e9,
        "candidate": scored,
        "direction": towards,
        "directions": 1 + A["minibatches"] * plan.kept.preactivations,
        "preactivation": made if not plan.kept.preactivations else dict.fromkeys(made, 0),
    }


def latency(axis: str, mesh: tuple[int, int], gather: bool = False) -> float:
    """Seconds of a small all-reduce, or all-gather, along an axis; neighbours share candidates."""
    size, stride = (mesh[0], mesh[1]) if axis == DATA else (mesh[1], 1)
    if size == 1:
        return 0.0
    inside = max(1, min(size, A["node"] // stride))
    nodes = -(-size // inside)
    if gather:
        steps = A["ring_nvlink"] * (size - nodes) + A["ring_network"] * (nodes - 1)
        return A["ring_base"] + steps
    steps = A["tree_nvlink"] * (inside - 1) + A["tree_network"] * math.log2(nodes)
    return A["tree_base"] + 2 * steps


def predict(row: dict[str, Any], mesh: tuple[int, int], block: bool) -> dict[str, float]:
    """Seconds of a sweep of an array: computing, launching, communicating, and in all."""
    d, c = mesh
    one, towards, made = row["candidate"], row["direction"], row["preactivation"]
    weights, height = row["weights"], row["weights"] // row["columns"]
    # A block's probes are scored column by column; a visit's three candidates at once.
    decisions, scored = (row["columns"], height) if block else (weights, 3)
    each = -(-scored // c)
    at_once = max(1, int(A["memory_kept"] * d // max(one["held"], 1)))
    turns = -(-each // at_once)
    flops = each * row["mflop_per_candidate"] * 1e6 + row["ahead_gflop"] * 1e9 / decisions
    moved = each * one["moved"] + row["directions"] * towards["moved"] + made["moved"]
    computing = max(flops / A["flops"], moved / A["memory"]) / d
    # Its own, and where it is carried that of the whole stack, at once if devices divide it.
    towards_at = min(row["directions"], 2) if d > 1 else row["directions"]
    steps = turns * one["steps"] + towards_at * towards["steps"] + made["steps"]
    launching = A["kernels"] * steps * A["launch"] + A["loop"]
    sums = turns * one["sums"] + towards_at * towards["sums"] + made["sums"]
    wire = A["nvlink"] if d * c <= A["node"] else A["infiniband"]
    told = sums * latency(DATA, mesh) + (each * one["summed"] * 2 / wire if d > 1 else 0)
    told += 2 * turns * latency(CANDIDATE, mesh, gather=True)
    parts = {"computing": computing, "launching": launching, "communicating": told}
    parts["in_all"] = max(computing, launching) + told
    return {name: seconds * decisions for name, seconds in parts.items()} | {"sums": sums}


MESHES = {
    "sequential": [(1, 1), (8, 1), (4, 2), (2, 3), (512, 1), (256, 2), (160, 3)],
    "leaf": [(1, 1), (8, 1), (4, 2), (1, 8), (512, 1), (128, 4), (64, 8), (8, 64), (4, 128)],
}


def predictions() -> list[dict[str, Any]]:
    """For both networks and both searches; kernels only, which are nearly all of the weights."""
    found = []
    stack = A["minibatches"], A["batch"]
    batches = {
        "image": jax.ShapeDtypeStruct((*stack, 32, 32, 3), jnp.float32),
        "label": jax.ShapeDtypeStruct(stack, jnp.int32),
    }
    residual = linen_network(Residual(), searching={"train": True}, evaluating={"train": False})
    networks = {"paper-cifar10": create("paper-cifar10", (32, 32, 3), 10), "residual": residual}
    for name, network in networks.items():
        loss_fn = loss_of(network, partial(cross_entropy, reduction="sum"))
        image = jnp.zeros((1, 32, 32, 3))
        params = jax.eval_shape(network.init, jax.random.key(0), image)
        batch = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), batches)
        leaves = [x for x in describe_leaves(loss_fn, params, batch) if len(x.shape) > 1]
        for search, meshes in MESHES.items():
            block = joint.Block("leaf", joint.accepted((1.0,))) if search == "leaf" else None
            rows = {
                parts: [array_work(loss_fn, params, batches, x, parts, block) for x in leaves]
                for parts in tqdm(sorted({min(d, 8) for d, _ in meshes}), desc=f"{name} {search}")
            }
            result = {"network": name, "search": search, "arrays": rows[8]}
            result["weights"] = sum(r["weights"] for r in rows[8])
            result["meshes"] = [summary(rows[min(m[0], 8)], m, block is not None) for m in meshes]
            found.append(result)
    return found


def summary(rows: list[dict[str, Any]], mesh: tuple[int, int], block: bool) -> dict[str, Any]:
    """A cycle on a mesh, and a visit of the arrays on average."""
    sweeps = [predict(row, mesh, block) for row in rows]
    weights = sum(row["weights"] for row in rows)
    total = {n: sum(s[n] for s in sweeps) for n in sweeps[0] if n != "sums"}
    sums = [s["sums"] for s in sweeps if mesh[0] > 1]
    return {
        "mesh": f"{mesh[0]}x{mesh[1]}",
        "seconds_per_cycle": float(f"{total['in_all']:.3g}"),
        "us_per_weight": {n: float(f"{1e6 * s / weights:.3g}") for n, s in total.items()},
        "all_reduces": [min(sums, default=0), max(sums, default=0)],
        "us_per_weight_of_array": {
            row["array"]: float(f"{1e6 * sweep['in_all'] / row['weights']:.3g}")
            for row, sweep in zip(rows, sweeps, strict=True)
        },
    }
