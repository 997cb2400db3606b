"""Where prepared data sets lie, and what is there.

The layout is that of tensorflow-datasets: ``data_dir/name/version`` with ``dataset_info.json``,
``features.json`` and the record files. It is read here without that package, which takes seconds
to import.
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from rso_jax.data.reason import reason
from rso_jax.errors import UserError

VERSIONS = {"mnist": "3.0.1", "fashion_mnist": "3.0.1", "cifar10": "3.0.2"}
"""Current versions in the catalogue of tensorflow-datasets."""
SPLITS = ("train", "test")


class PreparedDataset(NamedTuple):
    """A prepared data set on disk."""

    name: str
    version: str
    folder: Path
    counts: dict[str, int]
    """Examples by split."""
    records: tuple[Path, ...]
    """Files that hold the examples."""


def data_folder(data_dir: str | Path | None = None) -> Path:
    """Return the folder of prepared data sets; it need not exist.

    Args:
        data_dir: by default $RSO_DATA_DIR, else $TFDS_DATA_DIR, else ~/tensorflow_datasets.
    """
    default = os.environ.get("RSO_DATA_DIR") or os.environ.get("TFDS_DATA_DIR")
    return Path(data_dir or default or "~/tensorflow_datasets").expanduser()


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """Return the folder of decoded images; it need not exist.

    Args:
        cache_dir: by default $RSO_CACHE_DIR, else $XDG_CACHE_HOME/rso_jax, else ~/.cache/rso_jax.
    """
    default = os.environ.get("RSO_CACHE_DIR")
    if not default:
        default = os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "rso_jax")
    return Path(cache_dir or default).expanduser()


def find_prepared(name: str, data_dir: str | Path | None = None) -> PreparedDataset:
    """Find a prepared data set and check that it is complete and readable here.

    Args:
        name: one of ``VERSIONS``.
        data_dir: folder of prepared data sets; see ``data_folder``.

    Raises:
        UserError: what is missing, and how to get it.
    """
    try:
        return _find(name, data_folder(data_dir))
    except OSError as error:
        raise UserError(
            f"{error.filename} cannot be read ({error.strerror}); change its permissions or pass "
            "another --data-dir"
        ) from error


def _find(name: str, root: Path) -> PreparedDataset:
    remedy = (
        f"prepare it with `rso data import {name} SOURCE --data-dir {root}` (`rso data import "
        "--help` says what SOURCE is), or pass --data-dir with a folder of prepared data sets"
    )
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise UserError(f"{name} not found: the data folder {root} {problem}; {remedy}")
    if not (root / name).is_dir():
        raise UserError(f"{name} is not in the data folder {root}; {remedy}")
    version = VERSIONS[name]
    folder = root / name / version
    if not folder.is_dir():
        others = sorted(path.parent.name for path in (root / name).glob("*/dataset_info.json"))
        found = f"only version {', '.join(others)}" if others else "no version"
        raise UserError(f"{root / name} holds {found} but {version} is needed; {remedy}")
    return _describe(name, version, folder)


def _describe(name: str, version: str, folder: Path) -> PreparedDataset:
    again = f"remove it and run `rso data import {name} SOURCE --data-dir {folder.parent.parent}`"
    path = folder / "dataset_info.json"
    try:
        info = json.loads(path.read_text())
        file_format = info.get("fileFormat", "tfrecord")
        splits = {split["name"]: split for split in info["splits"]}
        counts = {s: sum(int(n) for n in splits[s]["shardLengths"]) for s in SPLITS}
        records = tuple(p for s in SPLITS for p in _record_files(folder, file_format, splits[s]))
    except FileNotFoundError as error:
        raise UserError(f"{folder} is incomplete: {path.name} is missing; {again}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({reason(error)}); {again}") from error
    if file_format != "array_record":
        raise UserError(
            f"{folder} is in the {file_format} format, which cannot be read without TensorFlow; "
            f"{again}, or prepare it with file_format='array_record'"
        )
    for record in records:
        if not record.is_file():
            raise UserError(f"{folder} is incomplete: {record.name} is missing; {again}")
    return PreparedDataset(name, version, folder, counts, records)


def _record_files(folder: Path, file_format: str, split: dict[str, Any]) -> list[Path]:
    """Expand a file name template of tensorflow-datasets."""
    shards = len(split["shardLengths"])
    template = split.get("filepathTemplate") or "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    return [
        folder
        / template.format(
            DATASET=folder.parent.name,
            SPLIT=split["name"],
            FILEFORMAT=file_format,
            SHARD_INDEX=f"{i:05d}",
            NUM_SHARDS=f"{shards:05d}",
            SHARD_X_OF_Y=f"{i:05d}-of-{shards:05d}",
        )
        for i in range(shards)
    ]
