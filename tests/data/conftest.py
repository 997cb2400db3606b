import shutil

import pytest
from small_archives import random_mnist, write_mnist

from rso_jax.data.importing import import_archive


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """No test reads or writes the data and the cache of who runs it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RSO_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("RSO_DATA_DIR", "TFDS_DATA_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def prepared_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    splits = random_mnist()
    import_archive("mnist", write_mnist(folder / "source", splits), folder / "data")
    return folder / "data", splits


@pytest.fixture
def prepared(prepared_once, tmp_path):
    """A data folder of one's own with a small mnist, and what is in it."""
    data_dir, splits = prepared_once
    return shutil.copytree(data_dir, tmp_path / "data"), splits
