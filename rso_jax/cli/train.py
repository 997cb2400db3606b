"""``rso train``: one run, from settings to a run folder."""

import dataclasses
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from rso_jax.cli.assemble import Assembly, assemble, check_data, in_parts, precision_of
from rso_jax.cli.checks import check_settings
from rso_jax.cli.config import OPERATIONAL, Train, check_same, from_json, to_json
from rso_jax.cli.devices import describe
from rso_jax.cli.joining import ANOTHER_IS_LOST, joined, last_words
from rso_jax.cli.table import print_table
from rso_jax.errors import UserError
from rso_jax.mesh import connect
from rso_jax.plots import plot_runs
from rso_jax.training import (
    ConsoleReporter,
    Outcome,
    StopRequest,
    processes,
    run_folder,
    score,
    stop_on_signals,
    train,
)
from rso_jax.training.method import count_weights


def stored_settings(folder: Path) -> Train:
    """The settings of the run in a folder, and where it found its data.

    Raises:
        UserError: no run there.
    """
    config = run_folder.read_config(folder)
    settings = from_json(config.get("settings", {}), folder / run_folder.CONFIG)
    data_dir = config.get("data_dir")
    return dataclasses.replace(settings, data_dir=None if data_dir is None else Path(data_dir))


def run_train(config: Train) -> int:
    """Train and write the run folder.

    Returns:
        Exit status: 0, or 128 plus the number of the signal that stopped the run.
    """
    check_settings(config)
    with (
        joined(config.coordinator, config.processes, config.process),
        stop_on_signals(config.max_minutes) as stop,
    ):
        return _run(config, stop)


def _run(config: Train, stop: StopRequest) -> int:
    _check_same_everywhere({"resume": config.resume is not None})
    if config.resume is not None:
        assembly, folder = _reopen(config, config.resume)
    else:
        assembly = assemble(config, on_mesh=True)
        folder = config.out or _new_folder(assembly.config)
        _check_same_everywhere(_facts(assembly))
        if processes.is_first():
            run_folder.create_run(folder, _describe(assembly), overwrite=config.overwrite)
    last_words(
        f"{ANOTHER_IS_LOST}; what was saved is intact: start every process again with rso train "
        f"--resume {folder}"
    )
    connect(assembly.mesh)
    _announce(assembly, folder)
    settled = assembly.config
    assert settled.cycles is not None and settled.score_every is not None
    conventions = assembly.conventions
    with precision_of(conventions):
        outcome = train(
            assembly.method,
            assembly.network,
            assembly.data,
            cycles=settled.cycles,
            batch_size=in_parts(settled.batch_size, settled.cycles),
            stacked=settled.stacked,
            score_every=settled.score_every,
            seed=settled.seed,
            folder=folder,
            resume=config.resume is not None,
            stop=stop,
            reporter=ConsoleReporter(),
            loss_is_sum=settled.optimizer == "rso" and conventions.loss_reduction == "sum",
            mesh=assembly.mesh,
        )
    if processes.is_first() and outcome.metrics:
        with run_folder.writing(folder):
            plot_runs({folder.name: outcome.metrics}, folder / run_folder.CURVE)
    _summarise(outcome, assembly, folder)
    return 0 if stop.signal is None or outcome.stopped is None else 128 + stop.signal


def _reopen(config: Train, folder: Path) -> tuple[Assembly, Path]:
    """The run in a folder, which only the first process needs to see."""
    if config.out is not None and config.out != folder:
        raise UserError(f"--resume {folder} goes on in that folder; leave --out {config.out} out")
    if config.overwrite:
        raise UserError("--resume goes on with a run and --overwrite starts it again; choose one")
    stored = config
    if processes.is_first():
        stored = stored_settings(folder)
        check_same(config, stored, folder)
    stored = from_json(processes.text_from_first(to_json(stored)), folder / run_folder.CONFIG)
    operational = {name: getattr(config, name) for name in OPERATIONAL}
    assembly = assemble(dataclasses.replace(stored, **operational), on_mesh=True)
    if processes.is_first():
        check_data(assembly.data_summary, run_folder.read_config(folder).get("data", {}), folder)
    _check_same_everywhere(_facts(assembly))
    return assembly, folder


def _facts(assembly: Assembly) -> dict[str, Any]:
    """What must be the same in every process."""
    return to_json(assembly.config) | {
        "data": assembly.data_summary,
        "mesh": assembly.config.mesh,
        "memory_gib": assembly.config.memory_gib,
        "jax": version("jax"),
        "rso_jax": version("rso_jax"),
    }


def _check_same_everywhere(facts: dict[str, Any]) -> None:
    """Refuse processes that were started differently, in all of them.

    Raises:
        UserError: in what.
    """
    differing = processes.differing(facts)
    _, any_differs = processes.agreed(0, bool(differing))
    if differing:
        raise UserError(
            f"this process and the first one differ in: {', '.join(differing)}; start all alike"
        )
    if any_differs:
        raise UserError("the processes were started differently; another one says in what")


def _new_folder(config: Train) -> Path:
    stem = f"{Path(config.dataset).stem}-{config.model}-{config.optimizer}"
    number = 1
    while (folder := Path("runs") / f"{stem}-{number}").exists():
        number += 1
    return folder


def _describe(assembly: Assembly) -> dict[str, Any]:
    names = ("rso_jax", "jax", "jaxlib", "flax", "optax", "numpy")
    device = jax.devices()[0]
    return {
        "settings": to_json(assembly.config),
        "data": assembly.data_summary,
        "data_dir": None if assembly.config.data_dir is None else str(assembly.config.data_dir),
        "conventions": assembly.conventions._asdict(),
        "software": {"python": platform.python_version()} | {n: version(n) for n in names},
        "hardware": {
            "device": device.device_kind,
            "platform": device.platform,
            "devices": jax.device_count(),
            "mesh": None if assembly.mesh is None else dict(assembly.mesh.shape),
            "cpu_cores": os.cpu_count(),
        },
    }


def _weights(assembly: Assembly) -> int:
    shapes = jax.eval_shape(
        assembly.network.init, jax.random.key(0), jax.numpy.asarray(assembly.data.x_train[:1])
    )
    return count_weights(shapes)


def _announce(assembly: Assembly, folder: Path) -> None:
    if not processes.is_first():
        return
    config, data = assembly.config, assembly.data
    how = f"rso, preset {config.preset}" if config.optimizer == "rso" else config.optimizer
    devices = f"{devices}\n" if (devices := describe(assembly.mesh)) else ""
    unit = "cycles" if config.optimizer == "rso" else "epochs"
    print(
        f"{config.model} ({_weights(assembly):,} weights) on {data.name} "
        f"({len(data.y_train):,} training, {len(data.y_test):,} test examples) by {how}: "
        f"{config.cycles} {unit}, batch {', '.join(map(str, config.batch_size))}, "
        f"seed {config.seed}\n"
        f"{devices}run folder {folder}",
        flush=True,
    )


def _summarise(outcome: Outcome, assembly: Assembly, folder: Path) -> None:
    rows: list[tuple[str, str]] = []
    if outcome.metrics:
        last = outcome.metrics[-1]
        best = max(outcome.metrics, key=lambda line: line["test_accuracy"])
        rows = [
            (f"test accuracy after cycle {last['cycle']}", f"{last['test_accuracy']:.2%}"),
            (
                "best test accuracy (selected on the test set)",
                f"{best['test_accuracy']:.2%} in cycle {best['cycle']}",
            ),
            ("training accuracy", f"{last['train_accuracy']:.2%}"),
            ("updates of each weight", f"{last['updates_per_weight']:,.4g}"),
            ("image evaluations", f"{last['image_evaluations']:,}"),
            ("training time", f"{last['seconds']:.1f} s"),
        ]
    # The same in every process: only the first has the metrics of a run that was resumed.
    goes_on = bool(outcome.progress.proposed) or outcome.progress.cycle % (
        assembly.config.score_every or 1
    )
    if outcome.stopped is not None and goes_on:
        data = assembly.data
        now = score(
            assembly.network,
            outcome.params,
            outcome.statistics,
            data.x_test,
            data.y_test,
            assembly.mesh,
        )
        rows.append(("test accuracy now", f"{now.accuracy:.2%}"))
    if not processes.is_first():
        return
    print_table(rows)
    print(f"run folder {folder}")
    if outcome.stopped is not None:
        progress = outcome.progress
        where = f"in cycle {progress.cycle + 1} of {assembly.config.cycles}"
        if progress.proposed:
            where += f", {sum(progress.proposed.values()):,} visits into it"
        print(f"{outcome.stopped} {where}; go on with: rso train --resume {folder}")
    sys.stdout.flush()
