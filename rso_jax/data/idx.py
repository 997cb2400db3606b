"""MNIST's own files: images and labels in the IDX format.

The format is described at the foot of the MNIST home page (LeCun, Cortes and Burges): a
big-endian magic number, 2051 for images and 2049 for labels, the sizes, then the bytes.
"""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rso_jax.data.reason import reason
from rso_jax.errors import UserError

IMAGE_MAGIC, LABEL_MAGIC = 2051, 2049
SIDE = 28
STEMS = {
    "train": ("train-images{}idx3-ubyte", "train-labels{}idx1-ubyte"),
    "test": ("t10k-images{}idx3-ubyte", "t10k-labels{}idx1-ubyte"),
}


def read_idx_folder(folder: Path) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Return images [N, 28, 28, 1] uint8 and labels [N] uint8 of "train" and "test".

    Args:
        folder: with train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
            t10k-labels-idx1-ubyte, each with or without .gz; a dot before "idx" is fine too.

    Raises:
        UserError: a file that is missing, truncated or something else.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder; pass the one that holds train-images-idx3-ubyte.gz and "
            "the other three files of MNIST"
        )
    found = {s: [_find(folder, stem) for stem in stems] for s, stems in STEMS.items()}
    splits = {}
    for split, (image_file, label_file) in found.items():
        images = _read(image_file, IMAGE_MAGIC, axes=3)
        if images.shape[1:] != (SIDE, SIDE):
            raise UserError(
                f"{image_file} holds images of {images.shape[1]} x {images.shape[2]} pixels, not "
                f"{SIDE} x {SIDE}; pass the original files"
            )
        splits[split] = (images[..., None], _read(label_file, LABEL_MAGIC, axes=1))
    return splits


def _find(folder: Path, stem: str) -> Path:
    for name in (stem.format("-"), stem.format(".")):
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    raise UserError(f"{folder} has no {stem.format('-')} (with or without .gz); download it first")


def _read(path: Path, magic: int, axes: int) -> NDArray[np.uint8]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({reason(error)}); download it again") from error
    header = 4 * (1 + axes)
    if len(content) < header:
        raise UserError(f"{path} has only {len(content)} bytes; download it again")
    found, *shape = (int(n) for n in np.frombuffer(content[:header], ">u4"))
    if found != magic:
        raise UserError(
            f"{path} starts with {found}, not with the magic number {magic}; pass the original file"
        )
    if len(content) - header != math.prod(shape):
        raise UserError(
            f"{path} has {len(content) - header} values but announces {math.prod(shape)}; "
            "download it again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
