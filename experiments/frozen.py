"""Experiments: runs with frozen settings, each ending as a folder under ``experiments/results``.

Every script of an experiment is a table of settings by name of the run, and takes the same
options: ``--only NAME ...``, ``--seeds N ...``, ``--data-dir``, ``--max-minutes``. Runs that are
there already are left alone; one that was interrupted goes on. A folder is what ``rso train``
writes, without its checkpoints: ``rso evaluate FOLDER`` scores it again.
"""

import dataclasses
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from rso_jax.cli.compiled import keep_compiled_programs
from rso_jax.cli.config import OptionalFloat, OptionalPath, Train
from rso_jax.cli.train import run_train, stored_settings
from rso_jax.errors import UserError
from rso_jax.training.run_folder import CONFIG, METRICS, PARAMS

RESULTS = Path(__file__).parent / "results"
LARGEST = 1_000_000
"""Bytes of trained weights that a result may hold."""

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
    make_settings: Callable[[], Mapping[str, Mapping[str, Any]]],
    seeds: int = 1,
    unless_named: Sequence[str] = (),
) -> int:
    """Run what is missing, as the command line says.

    Args:
        name: of the experiment: its folder under ``experiments/results``.
        make_settings: those of ``rso train`` by name of the run, the seed left out.
        seeds: how many runs of each.
        unless_named: runs that only ``--only`` starts.

    Returns:
        Exit status as of ``rso train``.
    """
    options = tyro.cli(Options, description=sys.modules["__main__"].__doc__)
    try:
        keep_compiled_programs()
        settings = make_settings()
        names = options.only or [run for run in settings if run not in unless_named]
        if unknown := [run for run in names if run not in settings]:
            raise UserError(f"no run {', '.join(unknown)}; there are {', '.join(settings)}")
        wanted = [(seed, run) for seed in options.seeds or range(seeds) for run in names]
        return _run_missing(name, settings, wanted, options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run_missing(
    experiment: str,
    settings: Mapping[str, Mapping[str, Any]],
    wanted: Sequence[tuple[int, str]],
    options: Options,
) -> int:
    deadline = time.monotonic() + 60 * (options.max_minutes or float("inf"))
    for seed, name in wanted:
        result = RESULTS / experiment / f"{name}-seed{seed}"
        if (result / PARAMS).exists():
            continue
        left = (deadline - time.monotonic()) / 60
        if left <= 0:
            print(f"{options.max_minutes:g} minutes are over; the same command goes on")
            return 0
        run = Path("runs") / experiment / result.name
        config = _config(settings[name], seed, run, options.data_dir)
        limit = left if options.max_minutes else None
        if status := run_train(dataclasses.replace(config, max_minutes=limit)):
            return status
        publish(run, result)
    return 0


def _config(settings: Mapping[str, Any], seed: int, run: Path, data_dir: Path | None) -> Train:
    """To begin the run, or to go on with it."""
    if not (run / CONFIG).exists():
        return Train(seed=seed, data_dir=data_dir, out=run, **settings)
    stored = stored_settings(run)
    if any(getattr(stored, name) != value for name, value in settings.items()):
        raise UserError(f"{run} was started with other settings than are frozen now; remove it")
    return dataclasses.replace(stored, data_dir=data_dir or stored.data_dir, resume=run)


def publish(run: Path, result: Path) -> bool:
    """Copy a complete run's settings, metrics and weights; whether it is complete."""
    config = json.loads((run / CONFIG).read_text())
    metrics = run / METRICS
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    if not lines or json.loads(lines[-1])["cycle"] < config["settings"]["cycles"]:
        return False
    assert (run / PARAMS).stat().st_size < LARGEST
    result.mkdir(parents=True, exist_ok=True)
    config["data_dir"] = None  # where the data lies here is nobody else's concern
    (result / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    for file in (METRICS, PARAMS):
        shutil.copy(run / file, result / file)
    return True
