"""CIFAR-10's own archive: pickled batches, read without letting a pickle run code.

The layout is described on the CIFAR-10 home page (Krizhevsky): each batch is a dictionary with
"data", uint8 [N, 3072] of 1024 red, 1024 green and 1024 blue values by row, and "labels", N
numbers.
"""

import codecs
import io
import pickle
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rso_jax.data.reason import reason
from rso_jax.errors import UserError

FOLDER = "cifar-10-batches-py"
BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
CHANNELS, SIDE = 3, 32


def _dtype(kind: Any, align: Any = False, copy: Any = False) -> np.dtype[Any]:
    """The published batches give 0 and 1 for the flags, which NumPy 2.4.0 to 2.4.4 warn of."""
    return np.dtype(kind, align=bool(align), copy=bool(copy))


_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): codecs.encode,
}


class _ArraysOnly(pickle.Unpickler):
    """Loads nothing but what rebuilding a NumPy array needs."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UserError(f"it asks for {module}.{name}, which no such batch needs")
        return _ALLOWED[module, name]


def read_cifar10(source: Path) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Return images [N, 32, 32, 3] uint8 and labels [N] of "train" and "test".

    Args:
        source: cifar-10-python.tar.gz, or the folder cifar-10-batches-py that it holds, or the
            folder around that. The archive is read without unpacking it to disk.

    Raises:
        UserError: a batch that is missing, damaged, something else, or that asks for code.
    """
    wanted = {name for names in BATCHES.values() for name in names}
    contents: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
    try:
        for name, content in _members(source, wanted):
            contents[name] = _unpickle(f"{source}: {name}", content)
    except UserError:
        raise
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise UserError(
            f"{source} cannot be read ({reason(error)}); pass cifar-10-python.tar.gz as "
            f"downloaded, or the folder {FOLDER}"
        ) from error
    if missing := sorted(wanted - contents.keys()):
        raise UserError(
            f"{source} lacks {', '.join(missing)}; pass cifar-10-python.tar.gz (the Python "
            f"version of CIFAR-10) or the folder {FOLDER}"
        )
    return {
        split: (
            np.concatenate([contents[name][0] for name in names]),
            np.concatenate([contents[name][1] for name in names]),
        )
        for split, names in BATCHES.items()
    }


def _members(source: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    if source.is_dir():
        folder = source / FOLDER if (source / FOLDER).is_dir() else source
        for name in sorted(wanted):
            if (folder / name).is_file():
                yield name, (folder / name).read_bytes()
        return
    with tarfile.open(source) as archive:
        for member in archive:  # in their order: going back would decompress again
            name = PurePosixPath(member.name).name
            if name in wanted and (file := archive.extractfile(member)) is not None:
                yield name, file.read()


def _unpickle(where: str, content: bytes) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        batch = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
        if not isinstance(batch, dict) or not isinstance(batch.get(b"data"), np.ndarray):
            raise UserError("it is no dictionary with an array of data")
        data, labels = batch[b"data"], np.asarray(batch.get(b"labels"))
        if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != CHANNELS * SIDE * SIDE:
            raise UserError(f"its data is {data.dtype} {data.shape}, not uint8 [N, 3072]")
        if labels.dtype.kind not in "iu" or labels.ndim != 1:
            raise UserError("its labels are not a list of whole numbers")
        if len(data) != len(labels):
            raise UserError(f"it has {len(data)} images but {len(labels)} labels")
    except Exception as error:  # pickles of another content raise every kind
        raise UserError(
            f"{where} is no batch of CIFAR-10 ({reason(error)}); download it again"
        ) from error
    return data.reshape(-1, CHANNELS, SIDE, SIDE).transpose(0, 2, 3, 1), labels
