"""``rso runs``: a table of run folders."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import tyro

from rso_jax.cli.quantities import say_count
from rso_jax.cli.table import print_columns
from rso_jax.errors import UserError
from rso_jax.training import run_folder

DEFAULT = Path("runs")
QUIET_SECONDS = 150.0
"""A run that wrote nothing for so long is taken as stopped; checkpoints are a minute apart."""


@dataclass(frozen=True)
class Runs:
    """List runs: what they trained, how far they came, and what it cost."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional] = (DEFAULT,)
    """Run folders, or folders that they lie in at any depth."""
    json: bool = False
    """Print one JSON object a run instead of a table."""


@dataclass(frozen=True)
class Row:
    """What is told of one run; None where its files do not say."""

    run: str
    dataset: str | None
    model: str | None
    method: str | None
    test_accuracy: float | None
    """After the last cycle scored."""
    best_test_accuracy: float | None
    """Of all cycles, so selected on the test set."""
    seconds: float | None
    image_evaluations: int | None
    state: str
    """``complete``, ``running?`` where it wrote something of late, ``stopped`` or ``damaged``."""
    cycle: int
    """The last that was scored; 0 before the first."""
    cycles: int | None
    written: str
    """Local time at which it last wrote something."""


def run_runs(config: Runs) -> int:
    """Print a line for each run, the one written last at the end; exit status 0.

    Raises:
        UserError: a folder that does not exist.
    """
    for folder in config.folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder; name folders of runs, or run rso train")
    found = dict.fromkeys(run for folder in config.folders for run in find_runs(folder))
    rows = sorted((read_row(run) for run in found), key=lambda row: row.written)
    if config.json:
        for row in rows:
            print(json.dumps(asdict(row)))
    elif rows:
        print_columns(HEADS, [_say(row) for row in rows])
    else:
        print(f"no runs in {' '.join(map(str, config.folders))}")
    return 0


def find_runs(folder: Path) -> Iterator[Path]:
    """The folder itself if it is that of a run, else all such below it."""
    for place, below, files in os.walk(folder):
        below.sort()
        if run_folder.CONFIG in files or run_folder.METRICS in files:
            below.clear()
            yield Path(place)


def read_row(folder: Path) -> Row:
    """What config.json and metrics.jsonl say of a run, however far they were written."""
    whole_config, config = _objects(folder / run_folder.CONFIG, lines=False)
    whole_metrics, lines = _objects(folder / run_folder.METRICS, lines=True)
    settings = (config or [{}])[0].get("settings")
    settings = settings if isinstance(settings, Mapping) else {}
    last = lines[-1] if lines else {}
    cycle, cycles = _number(last.get("cycle")) or 0, _number(settings.get("cycles"))
    accuracies = [_number(line.get("test_accuracy")) for line in lines]
    evaluations = _number(last.get("image_evaluations"))
    written = _last_written(folder)
    state = "running?" if time.time() - written < QUIET_SECONDS else "stopped"
    if cycles is not None and cycle >= cycles:
        state = "complete"
    if not whole_config or not whole_metrics:
        state = "damaged"
    return Row(
        run=str(folder),
        dataset=_text(settings.get("dataset")),
        model=_text(settings.get("model")),
        method=_text(settings.get("optimizer")),
        test_accuracy=_number(last.get("test_accuracy")),
        best_test_accuracy=max((a for a in accuracies if a is not None), default=None),
        seconds=_number(last.get("seconds")),
        image_evaluations=None if evaluations is None else int(evaluations),
        state=state,
        cycle=int(cycle),
        cycles=None if cycles is None else int(cycles),
        written=datetime.fromtimestamp(written).isoformat(timespec="milliseconds"),
    )


def _objects(path: Path, *, lines: bool) -> tuple[bool, list[dict[str, Any]]]:
    """Whether a file is whole, and its JSON objects that can be read; none if it is not there."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return True, []
    except (OSError, ValueError):
        return False, []
    parts, found = text.splitlines() if lines else [text], []
    for part in parts:
        with suppress(ValueError):
            value = json.loads(part)
            if isinstance(value, dict):
                found.append(value)
    return len(found) == len(parts), found


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _last_written(folder: Path) -> float:
    """Seconds since the epoch."""
    times = [0.0]
    for name in (run_folder.CONFIG, run_folder.METRICS, run_folder.CHECKPOINTS):
        with suppress(OSError):
            times.append((folder / name).stat().st_mtime)
    return max(times)


HEADS = ("run", "data", "model", "method", "test", "best", "seconds", "evaluations", "state")


def _say(row: Row) -> tuple[str, ...]:
    state = row.state
    if state in ("running?", "stopped") and row.cycles is not None:
        state = f"{state} in cycle {row.cycle + 1} of {row.cycles}"
    return (
        row.run,
        "-" if row.dataset is None else Path(row.dataset).name,
        row.model or "-",
        row.method or "-",
        *(
            "-" if share is None else f"{share:.2%}"
            for share in (row.test_accuracy, row.best_test_accuracy)
        ),
        "-" if row.seconds is None else f"{row.seconds:,.0f}",
        "-" if row.image_evaluations is None else say_count(row.image_evaluations),
        state,
    )
