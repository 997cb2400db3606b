"""The tables, as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from report.names import LABELS, SMALL_TITLES, TITLES
from report.sources import (
    STUDIES,
    Run,
    at_the_end,
    read_benchmark,
    read_leaf_order,
    read_local_rates,
    read_runs,
    read_study,
)
from rso_jax.cli.problem import say_readout

SPECTRAL = (
    "leaves, orthogonal",
    "leaves, orthogonal, batch x 4",
    "leaves, orthogonal, quarter",
    "leaves, orthogonal, normal probes",
    "leaves, differences",
    "leaves, differences, quarter",
    "sequential",
)
"""Preset ``spectral``, its near relations, and what they are compared with."""
LOCAL = (
    *("local", "local-short", "local-global", "local-shifted", "local-half-hour-shifted"),
    *("local-evening", "local-long", "local-wide"),
    *("rso", "rso-paper", "rso-heads", "rso-heads-5", "spectral"),
    *("sgd", "adam", "adam-heads", "adam-10", "open-es"),
)
"""Runs by local losses, and what they are compared with."""
WITH_LOCAL = ("mnist", "fashion_mnist", "cifar10")
"""Experiments that have such runs."""
NOT_MEASURED = "Not measured yet."
WITH_HEADS = "paper-mnist, local losses"
"""Name of a network of ``candidate_cost.py``."""


def runs_table(experiment: str, wanted: Sequence[str] = ()) -> str:
    """A row per method: the last cycle, over seeds; empty where nothing ran yet.

    Args:
        experiment: name of its script.
        wanted: runs to show; all if not given.
    """
    columns = (
        TITLES[experiment],
        "test accuracy, mean (lowest to highest)",
        "best, selected on the test set",
        "updates of each weight",
        "image evaluations",
        "training seconds",
        "ran on",
    )
    rows = [
        _row_of_runs(name, runs) if runs else (LABELS[name], *[""] * (len(columns) - 1))
        for name, runs in read_runs(experiment).items()
        if name in wanted or not wanted
    ]
    return as_table(columns, rows)


def local_tables() -> str:
    """For each data set a row for each run by local losses, and what they are compared with."""
    return "\n\n".join(runs_table(experiment, LOCAL) for experiment in WITH_LOCAL)


def readouts_table() -> str:
    """A row for each learning rate that ``local_rates.py`` tried, a column for each readout."""
    stored = read_local_rates()
    if stored is None:
        return NOT_MEASURED
    ways = list(stored["rates"][0]["accuracy"])
    best = max(accuracy for row in stored["rates"] for accuracy in row["accuracy"].values())

    def say(accuracy: float) -> str:
        return f"**{100 * accuracy:.2f}**" if accuracy == best else f"{100 * accuracy:.2f}"

    rows = [
        (f"{row['learning_rate']:g}", *(say(row["accuracy"][way]) for way in ways))
        for row in stored["rates"]
    ]
    return as_table(("held-out accuracy, %, by learning rate", *ways), rows)


def _row_of_runs(name: str, runs: list[Run]) -> tuple[str, ...]:
    settings, last = runs[0].config["settings"], runs[0].lines[-1]
    final = 100 * at_the_end(runs, "test_accuracy")
    best = [100 * max(line["test_accuracy"] for line in run.lines) for run in runs]
    return (
        f"{LABELS[name]}, {say_length(runs[0])}, batch {settings['batch_size']}"
        f"{_say_scored(settings)}",
        say_accuracy(final),
        f"{np.mean(best):.2f} %",
        f"{last['updates_per_weight']:,.0f}",
        say_millions(last["image_evaluations"]),
        say_seconds(float(np.median(at_the_end(runs, "seconds")))),
        ", ".join(sorted(set().union(*map(machines_of, runs)))),
    )


def _say_scored(settings: Mapping[str, Any]) -> str:
    """What is scored of a network with heads; nothing of one without."""
    if not settings.get("heads"):
        return ""
    return f", scored: {say_readout(settings['readout'], settings['first_head'])}"


def say_length(run: Run) -> str:
    """How many cycles or epochs it had, and of how many."""
    settings, done = run.config["settings"], run.lines[-1]["cycle"]
    by_cycles = settings["optimizer"] == "rso" or settings.get("batches_per_cycle") is not None
    unit, wanted = "cycles" if by_cycles else "epochs", settings["cycles"]
    length = f"{wanted}" if done == wanted else f"{done} of {wanted}"
    return f"{length} {unit[:-1] if wanted == 1 else unit}"


def machines_of(run: Run) -> set[str]:
    """That it began on, and all that it went on on."""
    began = [run.config["hardware"]]
    return {
        f"{hardware['cpu_cores']} CPU core{'s' * (hardware['cpu_cores'] > 1)}"
        if hardware["platform"] == "cpu"
        else f"{hardware['devices']} x {hardware['device']}"
        for hardware in began + [part["hardware"] for part in run.config.get("resumed", [])]
    }


def say_millions(number: float) -> str:
    """A count in millions."""
    return f"{number / 1e6:,.{1 if number < 1e8 else 0}f} million"


def say_accuracy(percent: np.ndarray, of: str = "seeds") -> str:
    """Mean of one for each seed, and their range."""
    few, most = min(percent), max(percent)
    spread = f" ({few:.2f} to {most:.2f}), {len(percent)} {of}" if len(percent) > 1 else ""
    return f"**{np.mean(percent):.2f} %**{spread}"


def say_seconds(number: float) -> str:
    """Seconds without their unit."""
    return f"{number:,.{1 if number < 100 else 0}f}"


def study_tables(study: str) -> str:
    """A table for each data set, with a row for each variant, the best first."""
    measured = [dataset for dataset in SMALL_TITLES if read_study(study, dataset)]
    return "\n\n".join(study_table(study, dataset) for dataset in measured)


def study_table(study: str, dataset: str, wanted: Sequence[str] = ()) -> str:
    """A row for each variant, the best first.

    Args:
        study: one of ``STUDIES``.
        dataset: that it ran on.
        wanted: variants to show; all if not given.
    """
    variants = read_study(study, dataset)
    (reference, *_) = variants[STUDIES[study]]
    accuracy = {
        name: 100 * at_the_end(runs, "held_out_accuracy") for name, runs in variants.items()
    }
    shown = [name for name in variants if name in wanted or not wanted]
    columns = (
        SMALL_TITLES[dataset],
        "held-out accuracy, mean (lowest to highest)",
        "image evaluations",
        "times fewer",
        "rounds",
        "times fewer",
    )
    rows = [
        _row_of_variant(name, accuracy[name], variants[name][0].lines[-1], reference.lines[-1])
        for name in sorted(shown, key=lambda name: -accuracy[name].mean())
    ]
    return as_table(columns, rows)


def _row_of_variant(
    name: str, accuracy: np.ndarray, last: dict[str, Any], reference: dict[str, Any]
) -> tuple[str, ...]:
    return (
        name,
        f"**{accuracy.mean():.2f} %** ({accuracy.min():.2f} to {accuracy.max():.2f}), "
        f"{len(accuracy)} seed{'s' * (len(accuracy) > 1)}",
        f"{last['image_evaluations'] / 1e6:.1f} million",
        f"{reference['image_evaluations'] / last['image_evaluations']:.2f}",
        f"{last['rounds']:,}",
        f"{reference['rounds'] / last['rounds']:.1f}",
    )


def leaf_order_table() -> str:
    """A row for arrays stepped together and one for arrays in turn, at the rate chosen for each."""
    columns = (
        "digits, 4,810 weights",
        "learning rate",
        "test accuracy, mean (lowest to highest)",
        "updates of each weight",
        "image evaluations",
    )
    rows = [
        (
            f"`leaves={way['leaves'].replace('-', '_')!r}`".replace("'", '"'),
            f"{way['learning_rate']:g}",
            say_accuracy(accuracy),
            f"{way['updates_per_weight']:,.0f}",
            say_millions(way["image_evaluations"]),
        )
        for way in read_leaf_order()["ways"]
        for accuracy in (100 * np.array(way["accuracy"]),)
    ]
    return as_table(columns, rows)


def cost_table() -> str:
    """A row per network: what a cycle costs by column programs and otherwise."""
    stored = read_benchmark("candidate_cost")
    columns = (
        "network",
        "mini-batches",
        "visits",
        "separate forward passes",
        "full passes, compiled sweep",
        "activation caching",
        "column programs",
        "times faster",
        "times fewer operations, bytes",
        "the same by XLA's count",
        "compilation",
    )
    networks = stored["networks"].items()
    rows = [_row_of_network(name, network) for name, network in networks if name != WITH_HEADS]
    network = stored["networks"]["paper-mnist"]
    hardware, rate, mnist = network["hardware"], network["matrix_gflops"], network["summary"]
    note = (
        f"Seconds of a cycle, worked out from samples of every array (of the transformer and "
        "paper-cifar10: of their kernels, which are the visits counted); "
        f"{hardware['cpu_cores']} CPU cores. Times faster than each of the three others in "
        "turn; operations of a candidate, and bytes that it reads and writes, over all "
        "kernels, against a forward pass: counted in the traced programs, and by XLA's "
        "analysis of what it compiles. "
        f"A product of large matrices runs at {rate:.0f} GFLOP/s there, at which the MNIST "
        f"network's cycle would take {mnist['floor_seconds']:.0f} s; the authors' MXNet script "
        f"took 2147 s on the same two cores, {mnist['times_faster_than_mxnet']:.1f} times as "
        "long, and computes less: it caches activations, under fixed batch statistics."
    )
    return f"{as_table(columns, rows)}\n\n{note}"


def local_cost_table() -> str:
    """A row per layer: what a visit of the search costs with local losses, and a cycle of it."""
    network = read_benchmark("candidate_cost")["networks"].get(WITH_HEADS)
    if network is None:
        return NOT_MEASURED
    columns = (
        "kernel",
        "visits",
        "a candidate, MFLOP",
        "MB",
        "a visit, ms",
        "by three forward passes, ms",
        "its visits, s",
    )
    rows = [
        (
            row["array"].removesuffix("/kernel"),
            f"{row['visits']:,}",
            f"{row['mflop_per_candidate']['column']:.2f}",
            f"{row['mb_per_candidate']['column']:.2f}",
            f"{row['ms_per_visit']['column']:.2f}",
            f"{row['ms_per_visit']['forwards']:,.0f}",
            f"{row['visits'] * row['ms_per_visit']['column'] / 1e3:.1f}",
        )
        for row in network["rows"]
        if row["array"].endswith("/kernel")
    ]
    total, cores = network["summary"], network["hardware"]["cpu_cores"]
    note = (
        f"{network['minibatches']} mini-batches of {network['batch_size']} images, "
        f"{cores} CPU core{'s' * (cores > 1)}. A cycle of all {total['visits']:,} weights takes "
        f"{total['cycle_seconds']['column']:,.0f} s, where three forward passes for each would "
        f"take {total['times_faster_than_forwards']:,.0f} times as long; its operations are "
        f"{100 * total['share_of_matrix_rate']:.0f} % of those that products of large matrices "
        f"would do in that time ({network['matrix_gflops']:.0f} GFLOP/s). The bytes that its "
        f"operations read and write are {total['share_of_bandwidth']:.1f} times as many as memory "
        f"gives while a large array is changed ({network['bandwidth_gb']:.1f} GB/s): the others "
        "stay in caches and registers."
    )
    return f"{as_table(columns, rows)}\n\n{note}"


def _row_of_network(name: str, network: dict[str, Any]) -> tuple[str, ...]:
    total = network["summary"]
    seconds = total["cycle_seconds"]
    others = ("forwards", "full", "cached")
    return (
        name,
        f"{network['minibatches']} x {network['batch_size']}",
        f"{total['visits']:,}",
        *[f"{seconds[way]:,.0f} s" for way in others],
        f"**{seconds['column']:,.0f} s**",
        ", ".join(f"{seconds[way] / seconds['column']:.1f}" for way in others),
        f"{total['times_fewer_flops_than_full']:,.1f}, {total['times_fewer_bytes_than_full']:,.1f}",
        f"{total['times_fewer_flops_by_xla']:,.1f}, {total['times_fewer_bytes_by_xla']:,.1f}",
        f"{total['compile_seconds']:.0f} s",
    )


def cliffs_table() -> str:
    """A row per network of odd operations: shares of a forward pass, and what was to be reached."""
    stored = read_benchmark("cliffs")
    before, reached = stored["before"], stored.get("reached", {"share": {}})

    def figure(counted: dict[str, Any], name: str) -> str:
        share = counted["share"].get(name)
        return "" if share is None else f"{share:.3f}"

    rows = [
        (name, figure(before, name), str(stored["target"].get(name, "")), figure(reached, name))
        for name in before["share"]
    ]
    note = (
        "Operations of the products and convolutions of a candidate over those of a forward "
        f"pass, the mean over all weights; before: at commit {before['commit']}. A name in "
        "the third column: as much as that network."
    )
    return f"{as_table(('network', 'before', 'to be reached', 'now'), rows)}\n\n{note}"


def as_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """As Markdown; a cell without text is a blank."""
    head = f"| {' | '.join(columns)} |"
    lines = ["|" + "".join(f" {cell} |" if cell else " |" for cell in row) for row in rows]
    return "\n".join([head, "|" + "---|" * len(columns), *lines])
