"""Baselines by `rso train --optimizer`: the same run folder, counted in the same way."""

import json
import sys

import pytest
from small_runs import metrics_of

WEIGHTS = 12 * 5 + 5 * 3 + 2 * (5 + 3)
# Of an epoch of 3 mini-batches of 20 examples: a gradient counts as three evaluations, and a
# generation of 8 members scores its mini-batch 8 times.
COST = {"adam": 3 * 60} | dict.fromkeys(("open-es", "pgpe", "snes", "spsa"), 8 * 60)
OF_A_METHOD = ("learning_rate", "weight_decay", "momentum", "population", "sigma", "order")
FILLED_IN = {
    "adam": {"learning_rate": 0.003, "weight_decay": 0.0},
    "open-es": {"learning_rate": 0.01, "population": 8, "sigma": 0.05},
    "pgpe": {"learning_rate": 0.01, "population": 8, "sigma": 0.05},
    "snes": {"learning_rate": 1.0, "population": 8, "sigma": 0.05},
    "spsa": {"learning_rate": 0.01, "population": 8, "sigma": 0.05},
}
"""Of the settings that methods do not share, those stored."""


@pytest.mark.parametrize("optimizer", COST)
def test_a_baseline_by_the_command_line(optimizer, points, tmp_path, rso):
    train = ["train", "--dataset", points, "--hidden", "5", "--optimizer", optimizer]
    population = [] if optimizer == "adam" else ["--population", "8"]
    schedule = ["--cycles", "20", "--batch-size", "20", "--out", tmp_path / "run"]
    found = rso(*train, *population, *schedule)
    assert found.status == 0, found.err
    assert f"by {optimizer}: 20 epochs" in found.out

    lines = metrics_of(tmp_path / "run")
    evaluations = [line["image_evaluations"] for line in lines[:2]]
    assert evaluations == [COST[optimizer], 2 * COST[optimizer]]
    assert lines[0]["weight_updates"] == 3 * WEIGHTS
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]

    settings = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    own = {name: settings[name] for name in OF_A_METHOD if name in settings}
    assert own == FILLED_IN[optimizer]
    evaluated = rso("evaluate", tmp_path / "run", "--json")
    assert json.loads(evaluated.out)["test_accuracy"] == lines[-1]["test_accuracy"]


def test_a_network_is_scored_without_what_trained_it(points, tmp_path, rso, monkeypatch):
    run = tmp_path / "run"
    train = ["train", "--dataset", points, "--hidden", "--optimizer", "open-es"]
    schedule = ["--population", "8", "--cycles", "1", "--batch-size", "20", "--out", run]
    assert rso(*train, *schedule).status == 0
    monkeypatch.setitem(sys.modules, "evosax", None)
    found = rso("evaluate", run, "--json")
    assert found.status == 0, found.err
    assert json.loads(found.out)["test_accuracy"] == metrics_of(run)[-1]["test_accuracy"]


def test_evolution_strategies_without_evosax(points, tmp_path, rso, monkeypatch):
    monkeypatch.setitem(sys.modules, "evosax", None)
    out = tmp_path / "run"
    found = rso("train", "--dataset", points, "--optimizer", "open-es", "--out", out)
    assert found.status == 2 and found.err.count("\n") == 1
    assert "evosax" in found.err and "rso_jax[evolution]" in found.err and not out.exists()
