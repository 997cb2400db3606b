"""Settings of ``rso train`` as given: nested by what they are about, flat in config.json."""

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from rso_jax.cli.flags import FIRST, option
from rso_jax.cli.methods import METHODS, MethodSettings, Rso
from rso_jax.cli.problem import Problem
from rso_jax.cli.running import Running
from rso_jax.cli.same_data import is_file
from rso_jax.errors import UserError, check_name

M = TypeVar("M", bound=MethodSettings)

# Settings that say where and how long to run, not what is computed: free to differ on resume, where
# memory_gib and mesh are by default those of the run, since rounding follows from them.
OPERATIONAL = (
    *("out", "resume", "overwrite", "max_minutes", "memory_gib", "data_dir", "log"),
    *("mesh", "coordinator", "processes", "process"),
)


# Names that older versions wrote in config.json.
_RENAMED = {"stacked": "batches_per_cycle"}


@dataclass(frozen=True)
class Train(Generic[M]):
    """Train a network and write a run folder.

    Interrupted by Ctrl-C, SIGTERM or --max-minutes, the run saves itself;
    `rso train --resume DIR` goes on where it stopped.
    """

    problem: Annotated[Problem, FIRST]
    method: Annotated[M, FIRST]
    running: Annotated[Running, FIRST]

    def check(self) -> None:
        """Refuse settings that no data set makes valid.

        Raises:
            UserError: the value and what it must be.
        """
        self.problem.check()
        self.method.check()
        self.running.check()


def flatten(settings: Any) -> dict[str, Any]:
    """Every setting by its name, however deep it is nested."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        found |= flatten(value) if dataclasses.is_dataclass(value) else {field.name: value}
    return found


def names_of(settings: type) -> Iterator[str]:
    """Names of all settings of a class, however deep they are nested."""
    for name, kind in _kinds(settings).items():
        if dataclasses.is_dataclass(kind):
            yield from names_of(typing.cast(type, kind))
        else:
            yield name


def settings_of(values: Mapping[str, Any]) -> Train[Any]:
    """The settings of a run from their names.

    ::

        settings_of({"dataset": "digits", "optimizer": "sgd", "cycles": 3, "out": Path("run")})

    Args:
        values: as flags of ``rso train`` with underscores; those left out, and those that are None,
            are the defaults.

    Raises:
        UserError: a name that is not a setting of that method.
    """
    optimizer = values.get("optimizer") or Rso.optimizer
    check_name("optimizer", optimizer, METHODS)
    left = dict(values)
    parts = [_take(kind, left) for kind in (Problem, METHODS[optimizer], Running)]
    for name in left:
        known = [name for kind in (Problem, METHODS[optimizer], Running) for name in names_of(kind)]
        check_name(f"a setting of {optimizer}", name, known)
    return Train(*parts)


def _take(kind: Any, left: dict[str, Any]) -> Any:
    """One part of the settings, whose values are taken from those left."""
    values = {}
    for name, inner in _kinds(kind).items():
        if dataclasses.is_dataclass(inner):
            values[name] = _take(inner, left)
        elif (value := left.pop(name, None)) is not None:
            values[name] = value
    return kind(**values)


def _kinds(settings: Any) -> dict[str, Any]:
    """The type of each field."""
    hints = typing.get_type_hints(settings)
    return {field.name: hints[field.name] for field in dataclasses.fields(settings)}


def to_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that say what is computed, as JSON values.

    Args:
        settings: by their names, as by ``flatten``.
    """
    found = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in settings.items()
        if name not in OPERATIONAL
    }
    if len(found["batch_size"]) == 1:
        (found["batch_size"],) = found["batch_size"]
    return found


def from_json(settings: Mapping[str, Any], source: Path) -> Train[Any]:
    """The settings that a config.json holds, of this or an older version.

    Older versions wrote settings of all methods, which were at their defaults.

    Raises:
        UserError: settings that this version does not have.
    """
    settings = {_RENAMED.get(name, name): value for name, value in settings.items()}
    optimizer = settings.get("optimizer", Rso.optimizer)
    if optimizer not in METHODS:
        raise UserError(f"{source} is of a method this version does not know: {optimizer}")
    known = {name for kind in (Problem, METHODS[optimizer], Running) for name in names_of(kind)}
    of_others = {name for kind in METHODS.values() for name in names_of(kind)} - known
    known -= set(OPERATIONAL)
    if unknown := sorted(settings.keys() - known - of_others):
        raise UserError(f"{source} has settings this version does not know: {', '.join(unknown)}")
    values = {name: value for name, value in settings.items() if name in known}
    if isinstance(values.get("batch_size"), int):
        values["batch_size"] = [values["batch_size"]]
    for name, value in values.items():
        values[name] = tuple(value) if isinstance(value, list) else value
    return settings_of(values)


def check_same(given: Train[Any], stored: Train[Any], folder: Path) -> None:
    """Refuse to go on with a run under other settings than its own.

    Raises:
        UserError: a setting that differs, with both values.
    """
    mine, theirs = to_json(flatten(given)), to_json(flatten(stored))
    for name in sorted(mine, key=lambda name: name != "optimizer"):
        value = mine[name]
        if name == "dataset" and is_file(value) and is_file(theirs[name]):
            continue  # it may have moved: what it holds is compared once it is read
        if value != theirs[name]:
            raise UserError(
                f"{option(name)} is {_as_given(value)} but the run in {folder} was started with "
                f"{_as_given(theirs[name])}; "
                f"leave {option(name)} out to go on with it, or start a new run with --out"
            )


def _as_given(value: Any) -> str:
    """As on the command line."""
    if value is None:
        return "the default"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
