"""Data sets by name."""

from pathlib import Path

from rso_jax.data.dataset import Dataset
from rso_jax.data.digits import load_digits
from rso_jax.data.locations import VERSIONS
from rso_jax.data.npz import load_npz
from rso_jax.data.prepared import load_prepared
from rso_jax.errors import UserError, did_you_mean

DATASETS = ("digits", *VERSIONS)


def load(
    name: str | Path, data_dir: str | Path | None = None, cache_dir: str | Path | None = None
) -> Dataset:
    """Return a data set.

    Args:
        name: one of ``DATASETS``, or the path of an .npz file.
        data_dir: folder of prepared data sets, for all but digits and .npz files; by default
            $RSO_DATA_DIR, else $TFDS_DATA_DIR, else ~/tensorflow_datasets.
        cache_dir: folder of decoded images; by default $RSO_CACHE_DIR, else
            $XDG_CACHE_HOME/rso_jax, else ~/.cache/rso_jax.

    Raises:
        UserError: an unknown name, or data that is missing or cannot be used.
    """
    name = str(name)
    if name.endswith(".npz"):
        return load_npz(name)
    if name == "digits":
        return load_digits()
    if name in VERSIONS:
        return load_prepared(name, data_dir, cache_dir)
    hint = did_you_mean(name, DATASETS)
    raise UserError(
        f"unknown data set {name!r}: {hint}known are {', '.join(DATASETS)} and paths ending in .npz"
    )
