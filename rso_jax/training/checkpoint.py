"""Checkpoints: written aside, hashed and renamed; a damaged one is named and passed over.

A checkpoint is a folder: ``state/`` (orbax), ``progress.json``, and ``manifest.json`` with the
SHA-256 of every other file. It exists under its own name only when it is complete.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rso_jax.errors import UserError
from rso_jax.files import remove_partial, replacing
from rso_jax.training.plain import is_key, plain, plain_shape, typed
from rso_jax.trees import named_leaves

PyTree = Any

KEPT = 3
_MANIFEST = "manifest.json"


def save_checkpoint(folder: Path, number: int, state: PyTree, progress: dict[str, Any]) -> None:
    """Write checkpoint ``number`` and drop all but the newest few.

    Args:
        folder: of the run's checkpoints; created if need be.
        number: orders the checkpoints; above every number in use.
        state: pytree of arrays.
        progress: JSON values that say where the run stands.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_partial(folder)
    with replacing(folder / f"{number:08d}") as writing:
        with _checkpointer() as checkpointer:
            # From the host: an array of several devices could be read by as many devices only.
            checkpointer.save(writing.absolute() / "state", jax.tree.map(_stored, state))
        (writing / "progress.json").write_text(json.dumps(progress))
        (writing / _MANIFEST).write_text(json.dumps(_hashes(writing)))
    for old in _numbered(folder)[:-KEPT]:
        shutil.rmtree(old)


def load_checkpoint(
    folder: Path, like: PyTree, warn: Callable[[str], None]
) -> tuple[int, PyTree, dict[str, Any]] | None:
    """The newest undamaged checkpoint; damaged ones are renamed, out of the way of new ones.

    Args:
        folder: of the run's checkpoints.
        like: pytree of arrays of the structure, shapes and types to restore.
        warn: told, in one line, of each damaged checkpoint that is passed over.

    Returns:
        ``(number, state, progress)``, or None if there is no usable checkpoint.

    Raises:
        UserError: the newest is whole, but of another structure, other shapes or types.
    """
    target = jax.tree.map(_blank, like)
    for path in reversed(_numbered(folder)):
        damage = _damage(path)
        if damage is not None:
            aside = path.with_name(f"damaged-{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(path, aside)
            warn(
                f"checkpoint {path} is damaged ({damage}), kept as {aside.name}; using an older one"
            )
            continue
        state = jax.tree.map(_restored, _read_state(path, target), like)
        return int(path.name), state, json.loads((path / "progress.json").read_text())
    return None


def _read_state(path: Path, target: PyTree) -> PyTree:
    """What a whole checkpoint holds, in the structure of ``target``."""
    with _checkpointer() as checkpointer:
        state = path.absolute() / "state"
        found = _shapes_and_types(checkpointer.metadata(state).item_metadata.tree)
        wanted = _shapes_and_types(target)
        for name in wanted.keys() & found.keys():
            if wanted[name] != found[name]:
                raise _misfit(path, found, wanted)
        try:
            return checkpointer.restore(state, target)
        except Exception as error:  # it is whole, and orbax raises many kinds
            raise _misfit(path, found, wanted) from error


def _shapes_and_types(tree: PyTree) -> dict[str, str]:
    return {name: f"{tuple(a.shape)} {a.dtype}" for name, a in named_leaves(tree).items()}


def _misfit(path: Path, found: dict[str, str], wanted: dict[str, str]) -> UserError:
    """That a checkpoint holds another state, with the first leaf in which it differs."""
    names = [name for name in wanted | found if wanted.get(name) != found.get(name)]
    where = "its structure differs"
    if names:
        there, here = found.get(names[0], "not there"), wanted.get(names[0], "not there")
        where = f"{names[0] or 'the array'} is {there} in the checkpoint and {here} here"
    return UserError(
        f"checkpoint {path} does not hold the state of this run: {where}; another method, another "
        "task or another version of rso_jax wrote it: go on with those it was begun with, or start "
        "anew in another folder"
    )


def has_checkpoints(folder: Path) -> bool:
    """Whether a run has left any there."""
    return bool(_numbered(folder))


@contextlib.contextmanager
def _checkpointer() -> Iterator[Any]:
    """Orbax, loaded when used; leaving its context waits until all is written.

    What fails is raised; that its threads log it too, before that, helps nobody.
    """
    import orbax.checkpoint as ocp

    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        # The first process alone: it must not wait for the others.
        first = {"primary_host": 0, "active_processes": {0}, "barrier_sync_key_prefix": "first"}
        options = ocp.options.MultiprocessingOptions(**first if jax.process_count() > 1 else {})
        with ocp.StandardCheckpointer(multiprocessing_options=options) as checkpointer:
            yield checkpointer
    finally:
        logger.setLevel(level)


def _stored(array: Any) -> np.ndarray:
    """As orbax can hold it: keys by their data, other types than it knows plain, nothing empty."""
    if is_key(array):
        return plain(array, "a leaf of the state")
    if np.size(array) == 0:
        return np.zeros(1, np.uint8)
    host = np.asarray(array)
    return host if host.dtype == jnp.bfloat16 else plain(host, "a leaf of the state")


def _blank(like: Any) -> np.ndarray:
    if is_key(like):
        return np.zeros(plain_shape(like), np.uint32)
    return _stored(np.zeros(np.shape(like), like.dtype))


def _restored(stored: Any, like: Any) -> Any:
    if not is_key(like) and np.size(like) == 0:
        return np.zeros(np.shape(like), like.dtype)
    return stored if like.dtype == jnp.bfloat16 else typed(stored, like, "a leaf of the state")


def _numbered(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("[0-9]*") if p.is_dir())


def _hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != _MANIFEST
    }


def _damage(path: Path) -> str | None:
    try:
        expected = json.loads((path / _MANIFEST).read_text())
    except (OSError, ValueError):
        return f"{_MANIFEST} is missing or unreadable"
    found = _hashes(path)
    for name in expected:
        if name not in found:
            return f"{name} is missing"
        if found[name] != expected[name]:
            return f"{name} differs from what was written"
    return None
