"""A run goes on with what it was started with: settings, devices as far as there are, and data."""

import json
import os
import shutil

import numpy as np
import pytest
from small_runs import arrays, assert_same_run, metrics_of, run_in_turn, sgd_arguments

BRIEFLY = ("--max-minutes", "1e-6")
OTHERWISE = "equal up to rounding"


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def change_config(folder, change):
    """As if it had been written by another version or on another machine."""
    config = config_of(folder)
    change(config)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


@pytest.fixture
def begun(points, rso, tmp_path):
    """A run stopped at its first visit, on a data file of its own."""
    shutil.copy(points, tmp_path / "points.npz")
    assert rso(*sgd_arguments("points.npz", tmp_path / "run", *BRIEFLY)).status == 0
    return tmp_path / "run"


def test_it_keeps_to_the_memory_it_was_started_with(points, rso, tmp_path):
    run = tmp_path / "run"
    search = ("--dataset", points, "--hidden", "--cycles", "2", "--batch-size", "20")
    assert rso("train", *search, "--memory-gib", "2", "--out", run, *BRIEFLY).status == 0
    as_before = rso("train", "--resume", run, *BRIEFLY)
    assert as_before.status == 0 and OTHERWISE not in as_before.out
    other = rso("train", "--resume", run, "--memory-gib", "4", *BRIEFLY)
    assert other.status == 0
    (line,) = [line for line in other.out.splitlines() if OTHERWISE in line]
    assert line.startswith("rso: ") and "--memory-gib 2, not 4" in line

    def forget(config):
        del config["memory_gib"], config["mesh"]

    change_config(run, forget)
    older = rso("train", "--resume", run, "--memory-gib", "4")
    assert older.status == 0 and OTHERWISE not in older.out


def test_it_keeps_to_its_mesh_as_long_as_there_are_the_devices(points, rso, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "4")
    mesh = ("--mesh", "data=2,candidate=2")

    whole, run, fewer = (tmp_path / name for name in ("whole", "run", "fewer"))
    uninterrupted, *begun, resumed = run_in_turn(
        sgd_arguments(points, whole, *mesh),
        *(sgd_arguments(points, folder, *mesh, *BRIEFLY) for folder in (run, fewer)),
        ("train", "--resume", run),
    )
    for found in (uninterrupted, *begun, resumed):
        assert found.status == 0, found.err
    assert all("stopped after" in found.out for found in begun)
    assert "data=2, candidate=2" in resumed.out and OTHERWISE not in resumed.out
    assert_same_run(run, whole)
    assert "resumed" not in config_of(run)

    # Here is one device.
    refused = rso("train", "--resume", fewer, *mesh)
    assert refused.status == 2 and "needs 4 devices; there is 1" in refused.err
    found = rso("train", "--resume", fewer)
    assert found.status == 0
    (line,) = [line for line in found.out.splitlines() if OTHERWISE in line]
    assert "data=2,candidate=2, not one device (the devices here do not make that mesh)" in line
    assert len(metrics_of(fewer)) == 3
    (entry,) = config_of(fewer)["resumed"]
    assert entry["hardware"]["mesh"] is None and entry["hardware"]["devices"] == 1


def test_every_machine_it_went_on_on_is_named_once(sgd_run, rso, tmp_path):
    run = shutil.copytree(sgd_run, tmp_path / "run")
    oldest, *others = sorted((run / "checkpoints").iterdir())
    for checkpoint in others:
        shutil.rmtree(checkpoint)
    change_config(run, lambda config: config["hardware"].update(cpu_cores=1000))
    before = (run / "config.json").read_text()
    assert rso("train", "--resume", run, *BRIEFLY).status == 0
    text = (run / "config.json").read_text()
    assert text.startswith(before.removesuffix("\n}\n"))
    (entry,) = config_of(run)["resumed"]
    assert 0 < entry["hardware"]["cpu_cores"] <= (os.cpu_count() or 1)
    assert entry["software"] == config_of(run)["software"]
    assert entry["seconds"] == json.loads((oldest / "progress.json").read_text())["seconds"]
    assert rso("train", "--resume", run).status == 0
    assert (run / "config.json").read_text() == text
    # Nothing is left to do: no machine went on.
    change_config(run, lambda config: config["resumed"][0]["software"].update(jax="0.1"))
    assert rso("train", "--resume", run).status == 0
    assert len(config_of(run)["resumed"]) == 1


def test_its_data_is_found_from_anywhere(begun, rso, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert rso("train", "--resume", begun, *BRIEFLY).status == 0
    assert rso("evaluate", begun).status == 0


def test_its_data_may_move(begun, sgd_run, rso, tmp_path):
    (tmp_path / "points.npz").rename(tmp_path / "renamed.npz")
    for command in (("train", "--resume", begun), ("evaluate", begun)):
        lost = rso(*command)
        assert lost.status == 2 and lost.err.count("\n") == 1
        assert "points.npz" in lost.err and "--dataset FILE.npz" in lost.err
    assert rso("train", "--resume", begun, "--dataset", "renamed.npz").status == 0
    assert_same_run(begun, sgd_run)
    found = rso("evaluate", begun, "--dataset", "renamed.npz", "--json")
    assert json.loads(found.out)["test_accuracy"] == metrics_of(begun)[-1]["test_accuracy"]


def twice(value):
    """Training and test images of one value, so that their order does not matter."""
    images = np.full((60, 12), value, np.float32)
    return {"x_train": images, "x_test": images, "y_test": arrays()["y_train"]}


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({}, {"y_train": arrays()["y_train"][::-1]}),
        (twice(1), twice(2)),
    ],
    ids=["training labels", "images that are the same twice"],
)
def test_other_data_is_refused(first, then, rso, tmp_path):
    np.savez("first.npz", **arrays() | first)
    np.savez("then.npz", **arrays() | then)
    run = tmp_path / "run"
    assert rso(*sgd_arguments("first.npz", run, *BRIEFLY)).status == 0
    commands = [
        (*command, "--dataset", "then.npz")
        for command in (("evaluate", run), ("train", "--resume", run))
    ]
    for command in commands:
        found = rso(*command)
        assert found.status == 2 and found.err.count("\n") == 1
        assert "data differs" in found.err and "pass the --dataset" in found.err
    # An older version did not look at this.
    change_config(run, lambda config: config["data"].pop("chained_checksum"))
    for command in commands:
        assert rso(*command).status == 0
