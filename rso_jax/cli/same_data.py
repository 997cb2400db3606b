"""Whether data is that of a run: what identifies it, compared on resume and evaluation."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from rso_jax.data import Dataset
from rso_jax.errors import UserError


def is_file(dataset: str) -> bool:
    """Whether a data set is the user's own file."""
    return dataset.endswith(".npz")


def summarise(data: Dataset) -> dict[str, Any]:
    """What identifies a data set: its name, sizes, and checksums of what it holds."""
    chained = 0
    for array in (data.x_train, data.y_train, data.x_test, data.y_test):
        chained = _checksum(array, chained)
    return {
        "name": data.name,
        "example_shape": list(data.x_train.shape[1:]),
        "classes": data.classes,
        "train_examples": len(data.y_train),
        "test_examples": len(data.y_test),
        # Blind to training labels and to two arrays that are equal, but all that older runs have.
        "checksum": _checksum(data.x_train) ^ _checksum(data.y_test) ^ _checksum(data.x_test),
        "chained_checksum": chained,
    }


def _checksum(array: np.ndarray, before: int = 0) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data, before)


def check_there(dataset: str, folder: Path) -> None:
    """Refuse to look for a run's .npz file where it is not.

    Raises:
        UserError: how to say where it is.
    """
    if is_file(dataset) and not Path(dataset).expanduser().is_file():
        raise UserError(
            f"{dataset}, the data of the run in {folder}, does not exist; say where it is now with "
            "--dataset FILE.npz"
        )


def check_data(found: dict[str, Any], stored: dict[str, Any], folder: Path) -> None:
    """Refuse data other than a run's own.

    Raises:
        UserError: what differs.
    """
    of_files = is_file(found["name"]) and is_file(stored.get("name", ""))
    for name, value in found.items():
        if name == "name" and of_files:
            continue  # a file may be renamed: what it holds is compared
        if name == "chained_checksum" and name not in stored:
            continue  # a run of an older version
        if stored.get(name) != value:
            option = "--dataset" if of_files else "--data-dir"
            raise UserError(
                f"the data differs from that of the run in {folder}: {name} is {value}, was "
                f"{stored.get(name)}; pass the {option} it was trained with"
            )
