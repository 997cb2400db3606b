"""``rso train`` as experiments call it: with its settings by name, in a folder of their choice."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rso_jax.cli.settings import flatten, settings_of
from rso_jax.cli.stored import stored_settings
from rso_jax.cli.train import run_train
from rso_jax.training.run_folder import CONFIG


def run_settings(
    run: Path,
    settings: Mapping[str, Any],
    *,
    data_dir: Path | None = None,
    max_minutes: float | None = None,
) -> int:
    """Begin the run in a folder, or go on with the one that is there.

    Args:
        run: its folder.
        settings: by the names of the command line, the seed among them.
        data_dir: folder of prepared tensorflow-datasets; by default where the run found its data.
        max_minutes: stop then.

    Returns:
        Exit status as of ``rso train``.
    """
    values = dict(settings) | {"out": run}
    if (run / CONFIG).exists():
        values = flatten(stored_settings(run)) | {"resume": run}
    values["data_dir"] = data_dir or values.get("data_dir")
    return run_train(settings_of(values | {"max_minutes": max_minutes}))


def has_settings(run: Path, settings: Mapping[str, Any]) -> bool:
    """Whether a run was started with these settings, whatever the others are."""
    stored = flatten(stored_settings(run))
    return all(name in stored and stored[name] == value for name, value in settings.items())
