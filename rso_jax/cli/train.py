"""``rso train``: one run, from settings to a run folder."""

import contextlib
import dataclasses
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rso_jax.cli.assemble import Assembly, assemble, precision_of
from rso_jax.cli.checks import check_settings
from rso_jax.cli.config import OPERATIONAL, Train, check_same, from_json, is_file, to_json
from rso_jax.cli.devices import choose_mesh
from rso_jax.cli.joining import ANOTHER_IS_LOST, joined, last_words
from rso_jax.cli.problem import check_data, check_there
from rso_jax.cli.report import announce, summarise
from rso_jax.errors import UserError
from rso_jax.machine import machine
from rso_jax.mesh import connect
from rso_jax.plots import plot_runs
from rso_jax.schedules import in_parts
from rso_jax.tasks import classification
from rso_jax.training import (
    ConsoleReporter,
    StopRequest,
    processes,
    run_folder,
    stop_on_signals,
    train,
)


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
        _check_same_everywhere(_facts(assembly))
        folder = config.out or _new_folder(assembly.config)
        if processes.is_first():
            run_folder.create_run(folder, _describe(assembly), overwrite=config.overwrite)
    last_words(
        f"{ANOTHER_IS_LOST}; what was saved is intact: start every process again with rso train "
        f"--resume {folder}"
    )
    connect(assembly.mesh)
    announce(assembly, folder)
    settled = assembly.config
    assert settled.cycles is not None and settled.score_every is not None
    with precision_of(assembly.conventions):
        outcome = train(
            assembly.method,
            classification(
                assembly.network,
                assembly.data,
                batch_size=in_parts(settled.batch_size, settled.cycles),
                stacked=settled.stacked,
                mesh=assembly.mesh,
            ),
            cycles=settled.cycles,
            score_every=settled.score_every,
            seed=settled.seed,
            folder=folder,
            resume=config.resume is not None,
            stop=stop,
            reporter=ConsoleReporter(),
        )
    if processes.is_first() and outcome.metrics:
        with run_folder.writing(folder):
            plot_runs({folder.name: outcome.metrics}, folder / run_folder.CURVE)
    summarise(outcome, assembly, folder)
    return 0 if stop.signal is None or outcome.stopped is None else 128 + stop.signal


def _reopen(config: Train, folder: Path) -> tuple[Assembly, Path]:
    """The run in a folder, which only the first process needs to see."""
    if config.out is not None and config.out != folder:
        raise UserError(f"--resume {folder} goes on in that folder; leave --out {config.out} out")
    if config.overwrite:
        raise UserError("--resume goes on with a run and --overwrite starts it again; choose one")
    begun: dict[str, Any] = {}
    if processes.is_first():
        check_same(config, stored_settings(folder), folder)
        begun = run_folder.read_config(folder)
    begun = processes.text_from_first(begun)
    stored = from_json(begun.get("settings", {}), folder / run_folder.CONFIG)
    settings = _to_go_on(config, stored, begun)
    check_there(settings.dataset, folder)
    assembly = assemble(settings, on_mesh=True)
    if processes.is_first():
        check_data(assembly.data_summary, begun.get("data", {}), folder)
    _check_same_everywhere(_facts(assembly))
    if processes.is_first():
        assert assembly.config.cycles is not None
        _say_what_rounds_otherwise(assembly, begun)
        run_folder.note_resumed(folder, machine(assembly.mesh), assembly.config.cycles)
    return assembly, folder


def _to_go_on(config: Train, stored: Train, begun: dict[str, Any]) -> Train:
    """A run's own settings, where and how long as it is told now.

    Args:
        config: as given now.
        stored: its settings.
        begun: its config.json.
    """
    given = {name: getattr(config, name) for name in OPERATIONAL}
    if is_file(config.dataset) and is_file(stored.dataset):
        given["dataset"] = config.dataset
    if config.memory_gib is None:
        given["memory_gib"] = begun.get("memory_gib")
    if config.mesh is None and begun.get("mesh") is not None:
        with contextlib.suppress(UserError):  # other devices: the default mesh
            choose_mesh(begun["mesh"], stored.batch_size)
            given["mesh"] = begun["mesh"]
    return dataclasses.replace(stored, **given)


def _say_what_rounds_otherwise(assembly: Assembly, begun: dict[str, Any]) -> None:
    config, differing = assembly.config, []
    if begun.get("memory_gib", config.memory_gib) != config.memory_gib:
        differing.append(f"--memory-gib {begun['memory_gib']:g}, not {config.memory_gib:g}")
    mesh = machine(assembly.mesh)["hardware"]["mesh"]
    before = begun.get("hardware", {}).get("mesh", mesh)
    if before != mesh:
        reason = ""
        if begun.get("mesh") is not None and config.mesh is None:
            reason = " (the devices here do not make that mesh)"
        differing.append(f"{_devices(before)}, not {_devices(mesh)}{reason}")
    if differing:
        print(
            f"rso: the run was started with {' and '.join(differing)}: what it comes to is equal "
            "up to rounding",
            flush=True,
        )


def _devices(mesh: dict[str, int] | None) -> str:
    return "one device" if mesh is None else ",".join(f"{axis}={n}" for axis, n in mesh.items())


def _facts(assembly: Assembly) -> dict[str, Any]:
    """What must be the same in every process."""
    return to_json(assembly.config) | {
        "dataset": assembly.data.name,  # a file may lie elsewhere on another machine
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
    """One that no other run has, the first process's for all."""
    folder = ""
    if processes.is_first():
        stem = f"{Path(config.dataset).stem}-{config.model}-{config.optimizer}"
        folder = str(run_folder.claim_folder(Path("runs"), stem))
    return Path(processes.text_from_first(folder))


def _describe(assembly: Assembly) -> dict[str, Any]:
    config, settings = assembly.config, to_json(assembly.config)
    if is_file(config.dataset):  # to be found from any working directory
        file = Path(config.dataset).expanduser()
        settings["dataset"] = str(file.parent.resolve() / file.name)  # a link keeps its name
    return {
        "settings": settings,
        "data": assembly.data_summary,
        "data_dir": None if config.data_dir is None else str(config.data_dir),
        "memory_gib": config.memory_gib,
        "mesh": config.mesh,
        "conventions": assembly.conventions._asdict(),
        **machine(assembly.mesh),
    }
