"""Data sets that tensorflow-datasets prepared, read without TensorFlow and without the network."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rso_jax.data.cache import cache_file, read_cache, write_cache
from rso_jax.data.dataset import Dataset, check
from rso_jax.data.locations import SPLITS, PreparedDataset, find_prepared
from rso_jax.data.progress import image_bar
from rso_jax.data.reason import reason
from rso_jax.errors import UserError

CLASSES = 10
CHUNK = 1000


def load_prepared(
    name: str, data_dir: str | Path | None = None, cache_dir: str | Path | None = None
) -> Dataset:
    """Return mnist, fashion_mnist or cifar10.

    The first call decodes the images and keeps the arrays; later calls read those.

    Args:
        name: of the data set.
        data_dir: folder of prepared data sets; see ``locations.data_folder``.
        cache_dir: folder of decoded arrays; see ``locations.cache_folder``.

    Returns:
        Images uint8 [N, H, W, C].

    Raises:
        UserError: not there, incomplete, damaged or in a format that needs TensorFlow.
    """
    source = find_prepared(name, data_dir)
    path = cache_file(source, cache_dir)
    arrays = read_cache(path)
    if arrays is not None:
        return check(Dataset(name=name, classes=CLASSES, **arrays))
    arrays = _decode(source)
    dataset = check(Dataset(name=name, classes=CLASSES, **arrays))
    write_cache(path, arrays)
    return dataset


def _decode(source: PreparedDataset) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with _no_notes_from_absl(), image_bar(sum(source.counts.values()), source.name) as bar:
            import tensorflow_datasets as tfds

            builder = tfds.builder_from_directory(source.folder)
            for split in SPLITS:
                images, labels = [], []
                reader = builder.as_data_source(split)
                for start in range(0, len(reader), CHUNK):
                    indices = range(start, min(start + CHUNK, len(reader)))
                    examples = reader.__getitems__(indices)
                    images.append(np.stack([example["image"] for example in examples]))
                    labels += [example["label"] for example in examples]
                    bar.update(len(examples))
                arrays[f"x_{split}"] = np.concatenate(images)
                arrays[f"y_{split}"] = np.asarray(labels, np.int32)
    except Exception as error:  # the readers raise RuntimeError, ValueError, OSError and others
        raise UserError(
            f"{source.folder} cannot be read ({reason(error)}); remove it and run `rso data import "
            f"{source.name} SOURCE --data-dir {source.folder.parent.parent}`"
        ) from error
    return arrays


@contextlib.contextmanager
def _no_notes_from_absl() -> Iterator[None]:
    """tensorflow-datasets notes through absl that PIL decodes, which is what is wanted here."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
