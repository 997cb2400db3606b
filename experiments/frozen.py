"""Experiments: runs with frozen settings, each ending as a folder under ``experiments/results``.

Every script of an experiment is a table of settings by name of the run, and takes the same
options: ``--only NAME ...``, ``--seeds N ...``, ``--data-dir``, ``--max-minutes``. Runs that are
there already are left alone; one that was interrupted goes on. A folder is what ``rso train``
writes, without its checkpoints: ``rso evaluate FOLDER`` scores it again. What is not complete when
the time is over lies under ``results/unfinished`` with its newest checkpoint, small enough to
be committed, so that any machine can go on with it.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro
from command import has_settings, run_settings

from rso_jax.cli.compiled import keep_compiled_programs
from rso_jax.errors import UserError, check_name
from rso_jax.files import replacing
from rso_jax.training.run_folder import (
    CHECKPOINTS,
    CONFIG,
    METRICS,
    PARAMS,
    read_config,
    read_metrics,
)

RESULTS = Path(__file__).parent / "results"
UNFINISHED = RESULTS / "unfinished"
LARGEST = 1_000_000
"""Bytes of trained weights that a result may hold."""
POPULATION = 64
"""Of an evolution strategy; another one has as many more or fewer generations."""

OptionalPath = Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]
OptionalFloat = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")]
Names = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...", help_behavior_hint="")]
Seeds = Annotated[tuple[int, ...], tyro.conf.arg(metavar="SEED ...", help_behavior_hint="")]


@dataclass(frozen=True)
class Options:
    """Run what is missing of this experiment."""

    only: Names = ()
    """Names of the runs; all by default."""
    seeds: Seeds = ()
    """All of the experiment's by default."""
    data_dir: OptionalPath = None
    """Folder of prepared tensorflow-datasets; see `rso data list`."""
    max_minutes: OptionalFloat = None
    """Stop after so many minutes; the same command goes on."""


def run_experiment(
    name: str,
    runs: Mapping[str, Mapping[str, Any]],
    seeds: int | Mapping[str, int] = 1,
    unless_named: Sequence[str] = (),
) -> int:
    """Run what is missing, as the command line says.

    Args:
        name: of the experiment: its folder under ``experiments/results``.
        runs: settings of ``rso train`` by name of the run, the seed left out; ``tuned`` adds what
            was chosen by ``tune.py``. ``start`` names the run of the same seed that it begins with.
        seeds: how many runs of each; by name, 1 of those that are not there.
        unless_named: runs that only ``--only`` starts.

    Returns:
        Exit status as of ``rso train``.
    """
    options = tyro.cli(Options, description=sys.modules["__main__"].__doc__)
    try:
        if options.max_minutes is not None and options.max_minutes <= 0:
            raise UserError(f"--max-minutes is {options.max_minutes:g}; it must be above 0")
        keep_compiled_programs()
        names = options.only or [run for run in runs if run not in unless_named]
        for run in names:
            check_name("--only", run, runs)
        settings = {run: tuned(name, runs[run]) for run in names}
        counts = seeds if isinstance(seeds, Mapping) else dict.fromkeys(runs, seeds)
        wanted = [
            (seed, run)
            for seed in options.seeds or range(max(counts.values()))
            for run in names
            if options.seeds or seed < counts.get(run, 1)
        ]
        return _run_missing(name, settings, wanted, options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def tuning_file(experiment: str, optimizer: str) -> Path:
    """Where ``tune.py`` leaves what it found."""
    return RESULTS / experiment / f"tuning-{optimizer}.json"


def tuned(experiment: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run, and what ``tune.py`` chose of those that the script does not say.

    Nothing is chosen for a search, for a preset that says all, or where the script says the rate.
    ``chosen_on`` names the experiment whose choice is taken, its own if it is not there.
    """
    settings = dict(settings)
    experiment = settings.pop("chosen_on", experiment)
    optimizer = settings.get("optimizer", "rso")
    if optimizer == "rso" or settings.get("preset") == "spectral" or "learning_rate" in settings:
        return settings
    path = tuning_file(experiment, optimizer)
    if not path.exists():
        raise UserError(
            f"{path} does not exist; run: python experiments/tune.py {experiment} {optimizer}"
        )
    found = json.loads(path.read_text()).get("chosen")
    if found is None:
        command = f"python experiments/tune.py {experiment} {optimizer}"
        raise UserError(f"{path} is not complete; run again: {command}")
    population = found.get("population", POPULATION)
    generations = max(1, settings["cycles"] * POPULATION // population)
    found["batch_size"] = (found["batch_size"],)
    return {**found, **settings, "cycles": generations}


def _run_missing(
    experiment: str,
    settings: Mapping[str, Mapping[str, Any]],
    wanted: Sequence[tuple[int, str]],
    options: Options,
) -> int:
    deadline = time.monotonic() + 60 * (options.max_minutes or float("inf"))
    for seed, name in wanted:
        folders = _folders(experiment, f"{name}-seed{seed}")
        if folders.result.exists():
            if not has_settings(folders.result, _own(settings[name])):
                print(
                    f"{folders.result} has other settings than are frozen now; remove it to run "
                    "it again"
                )
            continue
        left = (deadline - time.monotonic()) / 60
        if left <= 0:
            print(f"{options.max_minutes:g} minutes are over; the same command goes on")
            return 0
        limit = left if options.max_minutes else None
        status = _run_one(folders, settings[name], seed, options.data_dir, limit)
        if status:
            return status
    return 0


class Folders(NamedTuple):
    """Where a run may lie."""

    run: Path
    """As it runs here."""
    carried: Path
    """As it is carried to other machines while it is not complete."""
    result: Path
    """Once it is."""


def _folders(experiment: str, run: str) -> Folders:
    return Folders(*(top / experiment / run for top in (Path("runs"), UNFINISHED, RESULTS)))


def _run_one(
    folders: Folders,
    settings: Mapping[str, Any],
    seed: int,
    data_dir: Path | None,
    max_minutes: float | None,
) -> int:
    """Begin a run, or go on with what is furthest; publish it, or carry it on."""
    run, carried, result = folders
    if _newest_checkpoint(carried) > _newest_checkpoint(run):
        _put(run, lambda folder: shutil.copytree(carried, folder))
    if (run / CONFIG).exists() and not has_settings(run, _own(settings)):
        where = f"{run} and {carried}" if carried.exists() else str(run)
        raise UserError(f"{where}: started with other settings than are frozen now; remove it")
    values = {**settings, "seed": seed}
    if "start" in settings:
        values["start"] = str(result.parent / f"{settings['start']}-seed{seed}")
    status = run_settings(run, values, data_dir=data_dir, max_minutes=max_minutes)
    if publish(run, result):
        shutil.rmtree(carried, ignore_errors=True)
    else:
        carry(run, carried)
    return status


def _own(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run but where its first weights lie."""
    return {name: value for name, value in settings.items() if name != "start"}


def _checkpoints(run: Path) -> list[Path]:
    return sorted((run / CHECKPOINTS).glob("[0-9]*"))


def _newest_checkpoint(run: Path) -> int:
    """Its number, which counts up wherever a run goes on; 0 if there is none."""
    return max((int(path.name) for path in _checkpoints(run)), default=0)


def publish(run: Path, result: Path) -> bool:
    """Copy a complete run's settings, metrics and weights; whether it is complete."""
    lines = read_metrics(run)
    if not lines or lines[-1]["cycle"] < read_config(run)["settings"]["cycles"]:
        return False
    assert (run / PARAMS).stat().st_size < LARGEST
    _put(result, lambda folder: _copy(run, folder))
    return True


def carry(run: Path, carried: Path) -> None:
    """Copy what another machine needs to go on: settings, metrics, weights, newest checkpoint."""

    def copy(folder: Path) -> None:
        _copy(run, folder)
        for newest in _checkpoints(run)[-1:]:
            shutil.copytree(newest, folder / CHECKPOINTS / newest.name)

    _put(carried, copy)


def _put(folder: Path, fill: Callable[[Path], object]) -> None:
    """Make a folder, or make it anew, so that a kill never leaves a part of it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing(folder) as beside:
        fill(beside)


def _copy(run: Path, to: Path) -> None:
    to.mkdir()
    config = read_config(run)
    config["data_dir"] = None  # where the data lies here is nobody else's concern
    if config["settings"].get("start") is not None:  # nor where the run does that it began with
        config["settings"]["start"] = Path(config["settings"]["start"]).name
    (to / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    for file in (METRICS, PARAMS):
        if (run / file).exists():
            shutil.copy(run / file, to / file)
