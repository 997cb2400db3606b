"""``rso train``: one run, from settings to a run folder."""

from pathlib import Path
from typing import Any

from rso_jax.cli.assemble import Assembly, assemble
from rso_jax.cli.joining import ANOTHER_IS_LOST, join, last_words
from rso_jax.cli.pipes import go_on_unread
from rso_jax.cli.problem import use_precision
from rso_jax.cli.report import announce, summarise
from rso_jax.cli.running import TENSORBOARD
from rso_jax.cli.same_data import check_data, check_there
from rso_jax.cli.settings import Train, check_same, to_json
from rso_jax.cli.stored import (
    describe_differences,
    describe_run,
    list_facts,
    settings_to_go_on,
    stored_settings,
)
from rso_jax.errors import UserError
from rso_jax.machine import machine
from rso_jax.mesh import connect
from rso_jax.plots import plot_runs
from rso_jax.training import (
    ConsoleReporter,
    Reporter,
    Reporters,
    StopRequest,
    TensorBoardReporter,
    processes,
    run_folder,
    stop_on_signals,
    train,
)


def run_train(settings: Train[Any]) -> int:
    """Train and write the run folder, whether or not anybody reads what is printed.

    Returns:
        Exit status: 0, or 128 plus the number of the signal that stopped the run.
    """
    settings.check()
    devices = settings.running.devices
    with (
        go_on_unread(),
        join(devices.coordinator, devices.processes, devices.process),
        stop_on_signals(settings.running.stopping.max_minutes) as stop,
    ):
        return _run(settings, stop)


def _run(settings: Train[Any], stop: StopRequest) -> int:
    resumed = settings.running.resume
    _check_same_everywhere({"resume": resumed is not None})
    assembly, folder = _begin(settings) if resumed is None else _reopen(settings, resumed)
    last_words(
        f"{ANOTHER_IS_LOST}; what was saved is intact: start every process again with rso train "
        f"--resume {folder}"
    )
    connect(assembly.mesh)
    announce(assembly, folder)
    settled = assembly.settings.method
    with use_precision(settled.conventions, settled.whole_products):
        outcome = train(
            assembly.method,
            assembly.task,
            cycles=assembly.schedule.cycles,
            score_every=assembly.schedule.score_every,
            seed=assembly.settings.running.seed,
            folder=folder,
            resume=resumed is not None,
            stop=stop,
            reporter=_reporter(assembly, folder),
        )
    if processes.is_first() and outcome.metrics:
        with run_folder.writing(folder):
            plot_runs({folder.name: outcome.metrics}, folder / run_folder.CURVE)
    summarise(outcome, assembly, folder)
    return 0 if stop.signal is None or outcome.stopped is None else 128 + stop.signal


def _reporter(assembly: Assembly, folder: Path) -> Reporter:
    """The console, and event files where they are asked for."""
    console = ConsoleReporter()
    if assembly.settings.running.stopping.log != TENSORBOARD or not processes.is_first():
        return console
    events = TensorBoardReporter(
        folder / run_folder.EVENTS,
        hyperparameters=to_json(assembly.values()),
        earlier=run_folder.read_metrics(folder),
    )
    return Reporters(console, events)


def _begin(settings: Train[Any]) -> tuple[Assembly, Path]:
    """A new run, and its folder."""
    assembly = assemble(settings)
    _check_same_everywhere(list_facts(assembly))
    folder = settings.running.out or _claim_folder(assembly)
    if processes.is_first():
        overwrite = settings.running.stopping.overwrite
        run_folder.create_run(folder, describe_run(assembly), overwrite=overwrite)
    return assembly, folder


def _reopen(settings: Train[Any], folder: Path) -> tuple[Assembly, Path]:
    """The run in a folder, which only the first process needs to see."""
    begun: dict[str, Any] = {}
    if processes.is_first():
        check_same(settings, stored_settings(folder), folder)
        begun = run_folder.read_config(folder)
    begun = processes.text_from_first(begun)
    own = settings_to_go_on(settings, begun, folder)
    check_there(own.problem.dataset, folder)
    assembly = assemble(own)
    if processes.is_first():
        check_data(assembly.posed.data_summary, begun.get("data", {}), folder)
    _check_same_everywhere(list_facts(assembly))
    if processes.is_first():
        if differing := describe_differences(assembly, begun):
            print(
                f"rso: the run was started with {' and '.join(differing)}: what it comes to is "
                "equal up to rounding",
                flush=True,
            )
        run_folder.note_resumed(folder, machine(assembly.mesh), assembly.schedule.cycles)
    return assembly, folder


def _check_same_everywhere(facts: dict[str, Any]) -> None:
    """Refuse processes that were started differently, in all of them.

    Raises:
        UserError: in what.
    """
    differing = processes.differing(facts)
    _, any_differs = processes.agree(0, bool(differing))
    if differing:
        raise UserError(
            f"this process and the first one differ in: {', '.join(differing)}; start all alike"
        )
    if any_differs:
        raise UserError("the processes were started differently; another one says in what")


def _claim_folder(assembly: Assembly) -> Path:
    """One that no other run has, the first process's for all."""
    folder = ""
    if processes.is_first():
        settings = assembly.settings
        dataset = Path(settings.problem.dataset).stem
        stem = f"{dataset}-{assembly.posed.model}-{settings.method.optimizer}"
        folder = str(run_folder.claim_folder(Path("runs"), stem))
    return Path(processes.text_from_first(folder))
