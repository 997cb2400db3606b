"""Decoded arrays kept on disk: reading them takes a fraction of decoding images."""

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rso_jax.data.locations import PreparedDataset, cache_folder
from rso_jax.data.reason import reason
from rso_jax.files import replacing

KEYS = ("x_train", "y_train", "x_test", "y_test")


def cache_file(source: PreparedDataset, cache_dir: str | Path | None = None) -> Path:
    """Return the file for ``source``; its name changes with size or time of a record file."""
    stats = [(path.name, path.stat()) for path in source.records]
    facts = repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])
    fingerprint = hashlib.sha256(facts.encode()).hexdigest()[:16]
    return cache_folder(cache_dir) / f"{source.name}-{source.version}-{fingerprint}.npz"


def read_cache(path: Path) -> dict[str, NDArray[Any]] | None:
    """Return the arrays, or None where there is no undamaged file."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in KEYS}
    except Exception:  # whatever a damaged file raises, it is made again
        return None


def write_cache(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write the arrays, whole or not at all; a folder that cannot be written only warns."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            np.savez(partial, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        why = error.strerror or reason(error)
        print(
            f"rso: warning: decoded images not kept in {path.parent} ({why}); "
            "set RSO_CACHE_DIR to a folder that can be written",
            file=sys.stderr,
        )
