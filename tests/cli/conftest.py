from types import SimpleNamespace

import numpy as np
import pytest
from small_runs import arrays, sgd_arguments

from rso_jax.cli import main


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """No test reads or writes the data, the cache and the runs of who runs it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RSO_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("RSO_DATA_DIR", "TFDS_DATA_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def points(tmp_path_factory):
    """An .npz data set."""
    path = tmp_path_factory.mktemp("points") / "points.npz"
    np.savez(path, **arrays())
    return path


@pytest.fixture
def rso(capsys):
    """Run the program in this process: exit status and what it printed."""

    def run(*arguments):
        capsys.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as error:
            status = error.code
        printed = capsys.readouterr()
        return SimpleNamespace(status=status, out=printed.out, err=printed.err)

    return run


@pytest.fixture(scope="session")
def sgd_run(points, tmp_path_factory):
    """A finished run of SGD, only to be read."""
    folder = tmp_path_factory.mktemp("finished") / "by-sgd"
    assert main(sgd_arguments(points, folder)) == 0
    return folder
