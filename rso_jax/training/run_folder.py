"""A run folder: what a run writes, in formats that need no rso_jax to read.

``config.json`` settings and versions; ``metrics.jsonl`` a line per cycle; ``params.npz`` the
weights; ``curve.png`` a picture; ``checkpoints/`` what resuming needs; ``tensorboard/`` event files
of a run that is logged so.
"""

import errno
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rso_jax.errors import UserError
from rso_jax.files import replace_file, replacing
from rso_jax.training.plain import plain, plain_shape, typed
from rso_jax.trees import named_leaves

PyTree = Any

CONFIG, METRICS, PARAMS, CURVE = "config.json", "metrics.jsonl", "params.npz", "curve.png"
CHECKPOINTS, EVENTS = "checkpoints", "tensorboard"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_TEXTS = (*map(os.strerror, _FULL), "RESOURCE_EXHAUSTED")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn a failure to write into a message that names the folder and the remedy."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # tensorstore reports a full disk as a ValueError
        full = getattr(error, "errno", None) in _FULL or any(t in str(error) for t in _FULL_TEXTS)
        if not full and not isinstance(error, OSError):
            raise
        if full:
            raise UserError(
                f"no space left while writing {folder}; what was saved before is intact: free some "
                f"space, then go on with rso train --resume {folder}"
            ) from error
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"cannot write {folder}: {reason}; choose another --out") from error


def create_run(folder: Path, config: Mapping[str, Any], *, overwrite: bool) -> None:
    """Make the folder of a new run and write its config.json.

    Raises:
        UserError: the folder holds something, and it is not a run to overwrite.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; choose another --out")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / CONFIG).is_file():
            raise UserError(f"{folder} is not empty and holds no run; choose another --out")
        if not overwrite:
            raise UserError(
                f"{folder} already holds a run; go on with rso train --resume {folder}, start "
                "again with --overwrite, or choose another --out"
            )
        with writing(folder):
            for name in (CHECKPOINTS, EVENTS):
                shutil.rmtree(folder / name, ignore_errors=True)
            for name in (CONFIG, METRICS, PARAMS, CURVE):
                (folder / name).unlink(missing_ok=True)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _write_config(folder, config)


def _write_config(folder: Path, config: Mapping[str, Any]) -> None:
    replace_file(folder / CONFIG, json.dumps(config, indent=2) + "\n")


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a run.

    Raises:
        UserError: no run there, or a file that is not JSON.
    """
    path = folder / CONFIG
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        within = sorted(file.parent for file in folder.glob(f"*/{CONFIG}"))
        hint = f"; it holds runs: name one, as {within[0]}" if within else ""
        raise UserError(f"{folder} holds no run: {path} does not exist{hint}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from None


def claim_folder(parent: Path, stem: str) -> Path:
    """Make the first folder ``stem-1``, ``stem-2``, ... that is not there yet.

    Of several processes that ask at the same time, each gets another one.
    """
    number = 1
    with writing(parent):
        parent.mkdir(parents=True, exist_ok=True)
        while True:
            folder = parent / f"{stem}-{number}"
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                number += 1


def note_resumed(folder: Path, machine: Mapping[str, Any], cycles: int) -> None:
    """Add to config.json what a run goes on on, if it was not on that last.

    Args:
        folder: of the run.
        machine: ``hardware`` and ``software``, each a mapping.
        cycles: of the whole run; once they are done, nothing is added.
    """
    config, progress = read_config(folder), _newest_progress(folder)
    if progress.get("cycle", 0) >= cycles or (not progress and is_complete(folder, cycles)):
        return
    last = (config.get("resumed") or [config])[-1]
    # What an older version did not write down yet is not another machine.
    if all(
        found.get(name) == value
        for part, found in machine.items()
        for name, value in last.get(part, {}).items()
    ):
        return
    config.setdefault("resumed", []).append({**machine, "seconds": progress.get("seconds", 0.0)})
    with writing(folder):
        _write_config(folder, config)


def _newest_progress(folder: Path) -> dict[str, Any]:
    """Of the newest checkpoint that can be read, to be told and not to go on from."""
    for checkpoint in sorted((folder / CHECKPOINTS).glob("[0-9]*"), reverse=True):
        with suppress(OSError, ValueError):
            return json.loads((checkpoint / "progress.json").read_text())
    return {}


def write_metrics(folder: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write metrics.jsonl, one line for each completed cycle."""
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    replace_file(folder / METRICS, text)


def read_metrics(folder: Path | str) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; none if no cycle was completed."""
    path = Path(folder) / METRICS
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except FileNotFoundError:
        return []
    except ValueError:
        raise UserError(f"{path} is damaged: it is not one JSON object per line") from None


def is_complete(folder: Path, cycles: int) -> bool:
    """Whether metrics.jsonl holds the last of so many cycles.

    Raises:
        UserError: it is damaged.
    """
    return any(line.get("cycle", 0) >= cycles for line in read_metrics(folder))


def write_params(folder: Path, params: PyTree, statistics: PyTree) -> None:
    """Write params.npz, plain arrays: ``params/<path>`` and the statistics by their own paths.

    Those of a network with batch norm are ``batch_stats/<path>``. bfloat16 and smaller types are
    kept in larger ones, exactly; see ``plain``.

    Raises:
        UserError: a leaf that is no array.
    """
    arrays = {name: plain(leaf, name) for name, leaf in _contents(params, statistics).items()}
    with replacing(folder / PARAMS) as partial:
        np.savez(partial, **arrays)  # type: ignore[arg-type]


def read_params(path: Path, params_like: PyTree, statistics_like: PyTree) -> tuple[PyTree, PyTree]:
    """Weights and statistics from a params.npz.

    Args:
        path: the file.
        params_like: pytree of the network's structure, shapes and types.
        statistics_like: the same of its statistics.

    Returns:
        ``(params, statistics)``, in those types.

    Raises:
        UserError: an unreadable file, other arrays than the network has, or values that its types
            do not hold.
    """
    stored = read_arrays(path)
    like = _contents(params_like, statistics_like)
    wanted = {name: plain_shape(leaf) for name, leaf in like.items()}
    found = {name: array.shape for name, array in stored.items()}
    for name in sorted(wanted.keys() | found.keys(), key=lambda n: (not _is_param(n), n)):
        if wanted.get(name) != found.get(name):
            raise UserError(
                f"{path} does not fit the network: {name} has shape {found.get(name, 'none')} "
                f"in the file and {wanted.get(name, 'none')} in the network; pass the "
                "settings it was trained with"
            )
    # In the order of the leaves: parameters first.
    values = [typed(stored[name], leaf, f"{path}: {name}") for name, leaf in like.items()]
    structure = jax.tree.structure((params_like, statistics_like))
    params, statistics = jax.tree.unflatten(structure, values)
    return params, statistics


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What a params.npz holds, by name, parameters as ``params/<path>``.

    Raises:
        UserError: an unreadable file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; has this run completed an array yet?") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a readable .npz file: {error}".splitlines()[0]) from None


def _is_param(name: str) -> bool:
    return name.startswith("params/")


def _contents(params: PyTree, statistics: PyTree) -> dict[str, Any]:
    """The leaves by their names in the file, parameters first."""
    named, others = named_leaves({"params": params}), named_leaves(statistics)
    if both := sorted(named.keys() & others.keys()):
        raise UserError(f"{both[0]} is the name of a parameter and of a statistic; rename one")
    return named | others
