"""Downloaded archives to prepared data sets, without TensorFlow.

The result is what tensorflow-datasets reads: the same names, versions and features as in its
catalogue, in array_record files. Examples stay in the order of the archive.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rso_jax.data.cifar_archive import read_cifar10
from rso_jax.data.dataset import Dataset, check
from rso_jax.data.idx import read_idx_folder
from rso_jax.data.locations import VERSIONS, data_folder
from rso_jax.data.progress import image_bar
from rso_jax.data.reason import reason
from rso_jax.errors import UserError

Splits = dict[str, tuple[NDArray[Any], NDArray[Any]]]
CHUNK = 1000


class _Source(NamedTuple):
    read: Callable[[Path], Splits]
    labels: tuple[str, ...]
    """Names of the classes, where the catalogue names them."""
    description: str


_SOURCES = {
    "mnist": _Source(read_idx_folder, (), "The MNIST database of handwritten digits."),
    "fashion_mnist": _Source(
        read_idx_folder,
        (
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        "Fashion-MNIST: Zalando's article images.",
    ),
    "cifar10": _Source(
        read_cifar10,
        (
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        ),
        "CIFAR-10: colour images of 32 x 32 pixels in 10 classes.",
    ),
}


def import_archive(name: str, source: str | Path, data_dir: str | Path | None = None) -> Path:
    """Write a prepared data set from the archive its authors publish.

    Args:
        name: mnist, fashion_mnist or cifar10.
        source: for the first two the folder of the four IDX files, for cifar10 its Python
            archive or the folder in it.
        data_dir: folder of prepared data sets, created if need be; see
            ``locations.data_folder``.

    Returns:
        The folder written, data_dir/name/version.

    Raises:
        UserError: an unknown name, a source that is missing or damaged, a data set that is
            there already, a folder that cannot be written.
    """
    if name not in _SOURCES:
        raise UserError(f"cannot import {name!r}; choose one of {', '.join(_SOURCES)}")
    source = Path(source).expanduser()
    root = data_folder(data_dir)
    target = root / name / VERSIONS[name]
    if target.exists():
        raise UserError(f"{target} is there already; remove it first or choose another --data-dir")
    if not source.exists():
        raise UserError(f"{source} does not exist; pass the archive of {name} as downloaded")
    splits = _SOURCES[name].read(source)
    (x_train, y_train), (x_test, y_test) = splits["train"], splits["test"]
    check(Dataset(str(source), x_train, y_train, x_test, y_test, classes=10))
    try:
        root.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".rso-import-", dir=root))
        try:
            folder = temporary / target.name
            folder.mkdir()
            _write(name, folder, splits)
            target.parent.mkdir(exist_ok=True)
            os.rename(folder, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except (OSError, RuntimeError) as error:  # the record writer raises the latter
        raise UserError(
            f"{target} cannot be written ({reason(error)}); choose another --data-dir"
        ) from error
    return target


def _write(name: str, folder: Path, splits: Splits) -> None:
    import tensorflow_datasets as tfds
    from PIL import Image

    image_shape = splits["train"][0].shape[1:]
    labels = _SOURCES[name].labels
    features = {
        "image": tfds.features.Image(shape=image_shape, encoding_format="png"),
        "label": tfds.features.ClassLabel(**({"names": labels} if labels else {"num_classes": 10})),
    }
    if name == "cifar10":
        features["id"] = tfds.features.Text()
    identity = tfds.core.DatasetIdentity(
        name=name,
        version=tfds.core.Version(VERSIONS[name]),
        data_dir=os.fspath(folder),
        module_name=__name__,
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        description=_SOURCES[name].description,
        features=tfds.features.FeaturesDict(features),
        supervised_keys=("image", "label"),
        disable_shuffling=True,
    )
    writer = tfds.core.SequentialWriter(
        info, max_examples_per_shard=2**31, file_format="array_record"
    )
    total = sum(len(y) for _, y in splits.values())
    try:
        with image_bar(total, f"import {name}") as bar:
            writer.initialize_splits(list(splits))
            for split, (x, y) in splits.items():
                for start in range(0, len(y), CHUNK):
                    examples: list[dict[str, Any]] = []
                    for i in range(start, min(start + CHUNK, len(y))):
                        # PIL encodes what comes as its image; an array would need TensorFlow.
                        image = Image.fromarray(np.squeeze(x[i], 2) if x.shape[3] == 1 else x[i])
                        examples.append({"image": image, "label": int(y[i])})
                        if name == "cifar10":
                            examples[-1]["id"] = f"{split}_{i:05d}"
                    writer.add_examples({split: examples})
                    bar.update(len(examples))
    finally:
        writer.close_all()
