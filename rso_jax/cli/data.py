"""``rso data``: show the data sets, and prepare them from downloaded archives."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from rso_jax.cli.flags import OptionalPath
from rso_jax.data.cache import cache_file
from rso_jax.data.importing import import_archive
from rso_jax.data.loading import DATASETS, load
from rso_jax.data.locations import VERSIONS, data_folder, find_prepared
from rso_jax.errors import UserError


@dataclass(frozen=True)
class DataList:
    """Show which data sets are ready."""

    data_dir: OptionalPath = None
    """Folder of prepared tensorflow-datasets; by default $RSO_DATA_DIR, else $TFDS_DATA_DIR,
    else ~/tensorflow_datasets."""


@dataclass(frozen=True)
class DataImport:
    """Prepare a data set from the archive its authors publish. Nothing is overwritten."""

    name: Annotated[Literal["mnist", "fashion_mnist", "cifar10"], tyro.conf.Positional]
    """Data set to prepare."""
    source: Annotated[Path, tyro.conf.Positional]
    """What was downloaded: for mnist and fashion_mnist the folder with train-images-idx3-ubyte.gz
    and the other three files, for cifar10 cifar-10-python.tar.gz or the folder in it."""
    data_dir: OptionalPath = None
    """Folder to prepare it in, created if need be; by default $RSO_DATA_DIR, else $TFDS_DATA_DIR,
    else ~/tensorflow_datasets."""


def run_list(config: DataList) -> int:
    """Print a line for each data set; exit status 0.

    Raises:
        UserError: a --data-dir that is no folder.
    """
    folder = data_folder(config.data_dir)
    if config.data_dir is not None and not folder.is_dir():
        raise UserError(f"--data-dir {folder} is not a folder; pass a folder that exists")
    print(f"data folder {folder}")
    for name in DATASETS:
        print(f"  {name:<13} {_state(name, folder)}")
    return 0


def _state(name: str, folder: Path) -> str:
    if name not in VERSIONS:
        data = load(name)
        return _ready("-", len(data.y_train), len(data.y_test), "embedded in scikit-learn")
    try:
        found = find_prepared(name, folder)
    except UserError as error:
        return f"not ready: {error}"
    cached = "cached" if cache_file(found).is_file() else "not cached yet"
    counts = found.counts
    return _ready(found.version, counts["train"], counts["test"], f"{found.folder}  {cached}")


def _ready(version: str, train: int, test: int, where: str) -> str:
    return f"{version:<6} {train:>6} train {test:>6} test  {where}"


def run_import(config: DataImport) -> int:
    """Write the prepared data set and say where; exit status 0."""
    folder = import_archive(config.name, config.source, config.data_dir)
    print(f"wrote {folder}")
    return 0
