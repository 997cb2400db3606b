"""Experiments go on where they were interrupted, on another machine too."""

import importlib
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

RUN = {"dataset": "digits", "hidden": (4,), "optimizer": "rso", "cycles": 1, "batch_size": (100,)}


@pytest.fixture
def command(monkeypatch):
    """The module by which experiments call ``rso train``."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "experiments")
    return importlib.import_module("command")


@pytest.fixture
def frozen(tmp_path, monkeypatch):
    """The module, in a folder of its own."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "experiments")
    module = importlib.import_module("frozen")
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(module, "UNFINISHED", tmp_path / "unfinished")
    monkeypatch.setenv("RSO_CACHE_DIR", str(tmp_path / "cache"))
    return module


def run(frozen, folder, monkeypatch, *arguments):
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["experiment", *arguments])
    return frozen.run_experiment("small", {"rso": RUN})


def test_another_machine_goes_on_to_the_same_end(frozen, command, tmp_path, monkeypatch):
    result, carried = (
        tmp_path / name / "small" / "rso-seed0" for name in ("results", "unfinished")
    )
    assert run(frozen, tmp_path / "one", monkeypatch) == 0
    with np.load(result / "params.npz") as file:
        wanted = dict(file)
    result.rename(tmp_path / "uninterrupted")

    begun = tmp_path / "two"
    assert command.run_settings(begun, RUN, max_minutes=1e-9) == 0
    assert not frozen.publish(begun, result) and not result.exists()
    frozen.carry(begun, carried)
    assert run(frozen, tmp_path / "three", monkeypatch) == 0
    with np.load(result / "params.npz") as file:
        np.testing.assert_equal(dict(file), wanted)
    assert not carried.exists()


@pytest.mark.parametrize("further", ["here", "carried"])
def test_the_run_that_is_further_on_is_taken(frozen, command, tmp_path, monkeypatch, further):
    """From ``runs`` or from ``unfinished``: what one of them is behind costs nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["experiment"])
    settings = RUN | {"cycles": 2}
    complete = tmp_path / "complete"
    assert command.run_settings(complete, settings) == 0
    numbers = sorted(path.name for path in (complete / "checkpoints").glob("[0-9]*"))
    folders = {
        "here": tmp_path / "runs" / "small" / "rso-seed0",
        "carried": tmp_path / "unfinished" / "small" / "rso-seed0",
    }
    for name, folder in folders.items():
        kept = numbers[-1 if name == further else 0]
        others = [number for number in numbers if number != kept]
        shutil.copytree(complete, folder, ignore=shutil.ignore_patterns(*others))
    (folders["here"] / "of-this-machine").touch()

    assert frozen.run_experiment("small", {"rso": settings}) == 0
    taken = sorted(path.name for path in (folders["here"] / "checkpoints").glob("[0-9]*"))
    assert numbers[-1] in taken and numbers[0] not in taken
    assert (folders["here"] / "of-this-machine").exists() == (further == "here")
    result = tmp_path / "results" / "small" / "rso-seed0"
    with np.load(complete / "params.npz") as wanted, np.load(result / "params.npz") as found:
        np.testing.assert_equal(dict(found), dict(wanted))


def test_what_is_unknown_or_not_tuned_is_said(frozen, tmp_path, monkeypatch, capsys):
    assert run(frozen, tmp_path, monkeypatch, "--only", "sgd") == 2
    assert "--only is 'sgd': known are 'rso'" in capsys.readouterr().err
    with pytest.raises(frozen.UserError, match=r"tune\.py small adam"):
        frozen.tuned("small", {"optimizer": "adam", "cycles": 1})
    assert run(frozen, tmp_path, monkeypatch, "--max-minutes", "0") == 2
    assert "must be above 0" in capsys.readouterr().err


def test_generations_are_fewer_where_the_population_is_larger(frozen):
    frozen.tuning_file("small", "pgpe").parent.mkdir(parents=True)
    chosen = '{"chosen": {"batch_size": 32, "population": 256, "sigma": 0.1}}'
    frozen.tuning_file("small", "pgpe").write_text(chosen)
    settings = frozen.tuned("small", {"optimizer": "pgpe", "cycles": 400})
    assert settings == {
        "optimizer": "pgpe",
        "cycles": 100,
        "batch_size": (32,),
        "population": 256,
        "sigma": 0.1,
    }
