"""What was compiled once is not compiled by the next process."""

import os
import subprocess
import sys

import pytest
from small_runs import sgd_arguments

PROGRAM = "import sys; from rso_jax.cli import main; sys.exit(main())"


@pytest.fixture
def train(points, tmp_path, monkeypatch):
    """Train in a process of its own that nobody told where to keep compiled programs."""
    for name in [name for name in os.environ if name.startswith("JAX_")]:
        monkeypatch.delenv(name)

    def run(name):
        arguments = sgd_arguments(points, tmp_path / name, "--norm", "none", "--cycles", "1")
        found = subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True
        )
        assert (found.returncode, found.stderr) == (0, "")

    return run


def test_the_second_start_does_not_compile_the_training_again(train, tmp_path):
    def kept():  # programs of milliseconds are kept or not as the machine is busy
        folder = tmp_path / "cache" / "compiled"
        return [path.name for path in folder.rglob("jit_*step-*-cache")]

    train("first")
    after_the_first = kept()
    assert len(after_the_first) == 1
    train("second")
    assert kept() == after_the_first


def test_where_nothing_can_be_kept_it_trains_all_the_same(train, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RSO_CACHE_DIR", str(tmp_path / "file" / "cache"))
    train("run")
