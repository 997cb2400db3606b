"""What a visit costs: full forward passes, activation caching, column programs.

For the paper's two networks, a perceptron and a small transformer, and, by column programs alone,
for the paper's MNIST network with a head and a loss for every convolution: milliseconds of a visit
(three candidates) of every searched array, each way in turn, several times, medians; from them the
seconds of a whole cycle of preset ``authors_code``, and the shares of the machine's matrix rate and
of its bandwidth, both measured. Operations and bytes moved are counted from the traced programs
(``rso_jax.incremental.count_work``) and, for whole forward passes and candidates of kernels, by
XLA's own analysis of what it compiles.

Full forward passes are measured twice: ``forwards`` are three calls of the compiled loss, what a
search written around a framework's forward pass makes; ``full`` is the reference evaluator, whose
sweep is one compiled loop, and there XLA runs the layers before the searched one once for all
three candidates.

    python experiments/benchmarks/candidate_cost.py
    python experiments/benchmarks/candidate_cost.py --networks mlp transformer --repetitions 5
    python experiments/benchmarks/candidate_cost.py --counts-only

Writes ``candidate_cost.json`` and ``candidate_cost.png`` under ``experiments/results/benchmarks/``
after every array; measured arrays are not measured again unless ``--again``. About 20 minutes on
2 CPU cores. ``--counts-only`` counts again for the arrays that have been measured, in two minutes,
and leaves the times as they are.
"""

import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import tyro
from matplotlib.figure import Figure
from tqdm import tqdm

from rso_jax import presets, rso
from rso_jax.files import replace_file
from rso_jax.incremental import column_program
from rso_jax.leaves import all_losses, describe_leaves, loss_of_columns, with_columns
from rso_jax.machine import machine
from rso_jax.networks import create, cross_entropy, from_linen, loss_of
from rso_jax.search.cost import scoring
from rso_jax.timing import SAMPLE_SECONDS, time_stage, timed

RESULTS = Path(__file__).parents[1] / "results" / "benchmarks"
WAYS = {
    "full": ("full forward passes in a compiled sweep", "#999999", "s"),
    "cached": ("activation caching", "#E69F00", "^"),
    "column": ("column programs", "#0072B2", "o"),
}
FORWARDS = ("separate full forward passes", "#CC79A7", "x")
CANDIDATES = 3
"""Scored at a visit by the preset."""
# The authors' MXNet script on the 2 cores of these measurements: paper-mnist, batch 1000.
MXNET_CYCLE_SECONDS = 2147


class Case(NamedTuple):
    """A network to measure."""

    batch_size: int
    minibatches: int
    all_arrays: bool
    """Measure biases and scales too; their share of the visits is small."""
    make: Callable[[int], tuple[Any, Any, Callable]]
    """``batch_size -> (params, batch, loss_fn)``."""
    ways: tuple[str, ...] = tuple(WAYS)
    """To evaluate."""


@dataclass(frozen=True)
class Options:
    """Measure what a visit costs."""

    networks: tuple[str, ...] = (
        *("paper-mnist", "paper-cifar10", "mlp", "transformer"),
        "paper-mnist, local losses",
    )
    repetitions: int = 3
    again: bool = False
    """Measure what has been measured again."""
    counts_only: bool = False
    """Count again for what has been measured; measure nothing."""


class Transformer(nn.Module):
    """One pre-LN block on embedded tokens: width 32, 4 heads, 16 tokens of 64."""

    @nn.compact
    def __call__(self, tokens):
        """Logits [n, 64] of the token after the last."""
        x = nn.Embed(64, 32)(tokens)
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=4, qkv_features=32)(y)
        x = x + nn.Dense(32)(nn.gelu(nn.Dense(128)(nn.LayerNorm()(x))))
        return nn.Dense(64)(nn.LayerNorm()(x)[:, -1])


def built_in(
    model: str, shape: tuple[int, ...], size: int, heads: int | None = None
) -> tuple[Any, Any, Callable]:
    """A network of the package on noise, with the loss of preset ``authors_code``."""
    key = jax.random.key(0)
    network = create(model, shape, 10, heads=heads)
    images = jax.random.normal(key, (size, *shape), jnp.float32)
    loss = partial(cross_entropy, reduction="sum", precision="float64")
    batch = {"image": images, "label": jnp.zeros(size, jnp.int32)}
    return network.init(key, images[:1]), batch, loss_of(network, loss)


def transformer(size: int) -> tuple[Any, Any, Callable]:
    """The transformer on random tokens."""
    key = jax.random.key(0)
    tokens = jax.random.randint(key, (size, 16), 0, 64)
    params, loss_fn = from_linen(Transformer(), key, tokens)
    return params, {"image": tokens, "label": jnp.zeros(size, jnp.int32)}, loss_fn


CASES = {
    "paper-mnist": Case(1000, 4, True, partial(built_in, "paper-mnist", (28, 28, 1))),
    "paper-cifar10": Case(200, 4, False, partial(built_in, "paper-cifar10", (32, 32, 3))),
    "mlp": Case(1000, 4, True, partial(built_in, "mlp", (28, 28, 1))),
    "transformer": Case(500, 4, False, transformer),
    "paper-mnist, local losses": Case(
        1000, 4, True, partial(built_in, "paper-mnist", (28, 28, 1), heads=4), ("column",)
    ),
}


def matrix_rate() -> float:
    """FLOPs per second of a large product of float32 matrices, the best of several."""
    a = jax.random.normal(jax.random.key(0), (2048, 2048), jnp.float32)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(a, a))
    return 2 * 2048**3 / min(timed(lambda: product(a, a))[0] for _ in range(7))


def bandwidth() -> float:
    """Bytes per second, read and written, while a large array is changed; the best of several."""
    a = jnp.zeros(2**26, jnp.float32)
    change = jax.jit(lambda a: a + 1)
    jax.block_until_ready(change(a))
    return 2 * a.nbytes / min(timed(lambda: change(a))[0] for _ in range(7))


def searches_of(case: Case, loss_fn: Callable) -> dict[str, Any]:
    """A search for each way to evaluate."""
    settings = presets.authors_code(cycles=50)
    return {way: rso(loss_fn, evaluation=way, **settings) for way in case.ways}


def stacked(case: Case, batch: Any) -> Any:
    """A stack of the mini-batch."""
    return jax.tree.map(lambda a: jnp.stack([a] * case.minibatches), batch)


def counts(case: Case) -> dict[str, dict[str, Any]]:
    """For every array what a candidate and a sweep take, in operations and bytes."""
    params, batch, loss_fn = case.make(case.batch_size)
    searches, batches = searches_of(case, loss_fn), stacked(case, batch)
    costs = {w: {c.path: c for c in s.cost(params, batches)} for w, s in searches.items()}
    forward = by_xla(loss_fn, params, batch)
    found = {}
    for leaf in describe_leaves(all_losses(loss_fn), params, batch):
        own = {way: of_way[leaf.path] for way, of_way in costs.items()}
        found[leaf.path] = {
            "columns": leaf.columns,
            "bytes_kept": own["column"].bytes_kept,
            "mflop_per_candidate": {w: round(c.candidate_flops / 1e6, 4) for w, c in own.items()},
            "mb_per_candidate": {w: round(c.candidate_bytes / 1e6, 4) for w, c in own.items()},
            "sweep_gflop": {w: round(c.sweep_flops / 1e9, 3) for w, c in own.items()},
            "sweep_gb": {w: round(c.sweep_bytes / 1e9, 3) for w, c in own.items()},
        }
        if is_kernel(leaf.path) and "full" in case.ways:
            loss, turned = loss_of_columns(loss_fn, leaf), with_columns(params, leaf)
            program = column_program(loss, turned, batch, leaf.position)
            score, given = scoring(program, turned, batch, leaf)
            candidate = by_xla(score, *given)
            found[leaf.path]["xla_mflop_per_candidate"] = {
                "full": forward[0],
                "column": candidate[0],
            }
            found[leaf.path]["xla_mb_per_candidate"] = {"full": forward[1], "column": candidate[1]}
    return found


def by_xla(function: Callable, *arguments: Any) -> tuple[float, float]:
    """Millions of operations and of bytes by XLA's analysis of the compiled function."""
    analysis = jax.jit(function).lower(*arguments).compile().cost_analysis()
    operations = analysis["flops"] + analysis.get("transcendentals", 0)
    return round(operations / 1e6, 4), round(analysis["bytes accessed"] / 1e6, 4)


def is_kernel(array: str) -> bool:
    """Whether an array is one of those that nearly all weights are in."""
    return array.endswith(("kernel", "embedding"))


def measure(case: Case, repetitions: int, done: set[str]):
    """A row of times for every array of a network that is not done yet."""
    params, batch, loss_fn = case.make(case.batch_size)
    searches, batches = searches_of(case, loss_fn), stacked(case, batch)
    key = jax.random.key(0)
    forward = jax.jit(loss_fn)
    jax.block_until_ready(forward(params, batch))
    state = searches["column"].init(key, params)
    leaves = {leaf.path: leaf for leaf in describe_leaves(all_losses(loss_fn), params, batch)}
    todo = [
        stage
        for stage in searches["column"].stages(key, state, batches)
        if stage.name not in done and (case.all_arrays or len(leaves[stage.name].shape) > 1)
    ]
    for stage in tqdm(todo, unit="array"):
        samples: dict[str, list[float]] = {way: [] for way in (*searches, "forwards")}
        compile_seconds: dict[str, float] = {}
        for _ in range(repetitions):
            for way, search in searches.items():
                _, found = time_stage(search, key, state, stage, batches)
                samples[way].append(1e3 * found.visit_seconds)
                compile_seconds.setdefault(way, found.compile_seconds)
            samples["forwards"].append(1e3 * CANDIDATES * forward_seconds(forward, params, batch))
        yield {
            "array": stage.name,
            "visits": stage.visits,
            "ms_per_visit": {w: round(statistics.median(t), 4) for w, t in samples.items()},
            "ms_range": {w: [round(min(t), 4), round(max(t), 4)] for w, t in samples.items()},
            "compile_seconds": {w: round(s, 2) for w, s in compile_seconds.items()},
        }


def forward_seconds(forward: Callable, params: Any, batch: Any) -> float:
    """Seconds of one forward pass, from as many as a sample of visits takes."""
    once, _ = timed(lambda: forward(params, batch))
    count = max(1, int(SAMPLE_SECONDS / once))
    took, _ = timed(lambda: [jax.block_until_ready(forward(params, batch)) for _ in range(count)])
    return took / count


def summary(case: Case, network: dict[str, Any]) -> dict[str, Any]:
    """Totals of a cycle over the arrays measured, and what they are relative to each other."""
    rows = network["rows"]
    seconds = {
        w: sum(r["visits"] * r["ms_per_visit"][w] / 1e3 for r in rows)
        for w in ("forwards", *case.ways)
    }
    kernels = [r for r in rows if is_kernel(r["array"])]

    def fewer(field: str, way: str = "full") -> float:
        """Times fewer of it than another way a candidate of a kernel takes by column programs."""
        other, ours = (sum(r["visits"] * r[field][w] for r in kernels) for w in (way, "column"))
        return round(other / ours, 2)

    gflop, gb = (sum(r[field]["column"] for r in rows) for field in ("sweep_gflop", "sweep_gb"))
    found = {
        "visits": sum(r["visits"] for r in rows),
        "cycle_seconds": {w: round(s, 2) for w, s in seconds.items()},
        "times_faster_than_forwards": round(seconds["forwards"] / seconds["column"], 2),
        "floor_seconds": round(gflop / network["matrix_gflops"], 2),
        "share_of_matrix_rate": round(gflop / network["matrix_gflops"] / seconds["column"], 3),
        "compile_seconds": round(sum(r["compile_seconds"]["column"] for r in rows), 1),
    }
    if "bandwidth_gb" in network:
        found["share_of_bandwidth"] = round(gb / network["bandwidth_gb"] / seconds["column"], 3)
    if "full" in case.ways:
        found |= {
            "times_faster_than_full": round(seconds["full"] / seconds["column"], 2),
            "times_faster_than_cached": round(seconds["cached"] / seconds["column"], 2),
            "times_fewer_flops_than_full": fewer("mflop_per_candidate"),
            "times_fewer_flops_than_cached": fewer("mflop_per_candidate", "cached"),
            "times_fewer_flops_by_xla": fewer("xla_mflop_per_candidate"),
            "times_fewer_bytes_than_full": fewer("mb_per_candidate"),
            "times_fewer_bytes_than_cached": fewer("mb_per_candidate", "cached"),
            "times_fewer_bytes_by_xla": fewer("xla_mb_per_candidate"),
        }
    if case is CASES["paper-mnist"]:
        found["times_faster_than_mxnet"] = round(MXNET_CYCLE_SECONDS / seconds["column"], 2)
    return found


def show(name: str, found: dict[str, Any]) -> None:
    """Print the table of a network."""
    case, total = CASES[name], found["summary"]
    print(f"\n{name}, batch {case.batch_size}, {case.minibatches} mini-batches")
    width = max(len(r["array"]) for r in found["rows"])
    ways = "".join(f"{way:>9}" for way in case.ways)
    print(f"{'':<{width}}          {'MFLOP per candidate':<27} ms per visit")
    print(f"{'array':<{width}}  visits   {ways}  forwards{ways}  share")
    for r in found["rows"]:
        share = r["visits"] * r["ms_per_visit"]["column"] / 1e3 / total["cycle_seconds"]["column"]
        flops = "".join(f"{r['mflop_per_candidate'][w]:>9.2f}" for w in case.ways)
        times = "".join(f"{r['ms_per_visit'][w]:>9.2f}" for w in ("forwards", *case.ways))
        print(f"{r['array']:<{width}} {r['visits']:>7}   {flops} {times} {share:>6.1%}")
    print(json.dumps(total))


def draw(networks: dict[str, dict]) -> None:
    """A panel for each network: milliseconds of a visit by array."""
    figure = Figure(figsize=(11, 3.2 * ((len(networks) + 1) // 2)), layout="constrained")
    panels = figure.subplots((len(networks) + 1) // 2, 2, squeeze=False).ravel()
    for panel, (name, found) in zip(panels, networks.items(), strict=False):
        rows = [r for r in found["rows"] if is_kernel(r["array"])]
        labels = [r["array"].removesuffix("/kernel").split("_0/")[-1] for r in rows]
        ways = {"forwards": FORWARDS} | {way: WAYS[way] for way in CASES[name].ways}
        for way, (label, colour, marker) in ways.items():
            values = [r["ms_per_visit"][way] for r in rows]
            panel.plot(range(len(rows)), values, marker, color=colour, label=label)
        panel.set_yscale("log")
        low, high = (math.log10(limit) for limit in panel.get_ylim())
        panel.set_ylim(10 ** math.floor(low), 10 ** math.ceil(high))
        panel.set_xticks(range(len(rows)), labels, rotation=40, ha="right", fontsize=8)
        panel.set_title(
            f"{name}: a cycle {found['summary']['times_faster_than_forwards']:.1f} times "
            "faster than by forward passes",
            fontsize=9,
        )
        panel.set_ylabel("ms per visit", fontsize=8)
        panel.grid(alpha=0.3)
    for panel in panels[len(networks) :]:
        panel.remove()
    panels[0].legend(fontsize=8)
    figure.savefig(RESULTS / "candidate_cost.png", dpi=130, metadata={"Software": None})


def count_again(path: Path, stored: dict[str, Any], networks: Sequence[str]) -> None:
    """Replace the counts of what has been measured; the times stay."""
    for name in networks:
        found = stored["networks"][name]
        with jax.enable_x64(True):
            counted = counts(CASES[name])
        for row in found["rows"]:
            row |= counted[row["array"]]
        found["summary"] = summary(CASES[name], found)
        show(name, found)
    replace_file(path, json.dumps(stored, indent=2) + "\n")


def main(options: Options) -> None:
    """Measure what is missing; print, write and draw."""
    path = RESULTS / "candidate_cost.json"
    stored = json.loads(path.read_text()) if path.is_file() else {}
    if options.counts_only:
        count_again(path, stored, options.networks)
        return
    stored["what"] = "milliseconds of a visit of 3 candidates, median of repetitions"
    rates = {
        "matrix_gflops": round(matrix_rate() / 1e9, 1),
        "bandwidth_gb": round(bandwidth() / 1e9, 1),
    }
    networks = stored.setdefault("networks", {})
    for name in options.networks:
        case = CASES[name]
        if options.again:
            networks.pop(name, None)
        found = networks.setdefault(name, {"rows": []})
        done = {row["array"] for row in found["rows"]}
        if not done:
            found |= {"batch_size": case.batch_size, "minibatches": case.minibatches}
            found |= rates | machine()
        with jax.enable_x64(True):
            counted = counts(case)
            for row in measure(case, options.repetitions, done):
                found["rows"].append(row | counted[row["array"]])
                found["summary"] = summary(case, found)
                RESULTS.mkdir(parents=True, exist_ok=True)
                replace_file(path, json.dumps(stored, indent=2) + "\n")
        show(name, found)
    draw(networks)


if __name__ == "__main__":
    main(tyro.cli(Options))
