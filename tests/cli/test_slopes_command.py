"""``rso train --optimizer slopes``: run folders like all others, and what was spent on them."""

import json
from pathlib import Path

import numpy as np
import pytest
from small_runs import assert_same_run, metrics_of

RESULTS = Path(__file__).parents[2] / "experiments" / "results"
BRIEFLY = ("--max-minutes", "1e-6")
# A move of each of 8 hidden units and 10 logits, from which their shifts follow, and the value.
EVALUATIONS = 8 + 10 + 1


def settings_of(folder):
    return json.loads((folder / "config.json").read_text())["settings"]


def digits(out, *more):
    """Two epochs of 4 mini-batches of 64 digits."""
    data = ("--dataset", "digits", "--train-examples", "256", "--hidden", "8", "--norm", "none")
    schedule = ("--cycles", "2", "--batch-size", "64", "--out", out)
    return "train", "--optimizer", "slopes", *data, *schedule, *more


def test_a_run_counts_its_probes_and_goes_on_where_it_stopped(rso, tmp_path):
    found = rso(*digits(tmp_path / "whole"))
    assert found.status == 0, found.err
    assert "by slopes, cheapest probes, sgd: 2 epochs, batch 64" in found.out
    first, last = metrics_of(tmp_path / "whole")
    assert first["image_evaluations"] == 4 * EVALUATIONS * 64
    assert first["candidates"] == 4 * EVALUATIONS
    assert last["train_loss"] < first["train_loss"]

    assert rso(*digits(tmp_path / "stopped", *BRIEFLY)).status == 0
    assert rso("train", "--resume", tmp_path / "stopped").status == 0
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")
    other = rso("train", "--resume", tmp_path / "stopped", "--momentum", "0.5")
    assert other.status == 2 and "--momentum is 0.5" in other.err and "with 0.9" in other.err
    other = rso("train", "--resume", tmp_path / "stopped", "--eps", "0.5")
    assert other.status == 2 and "--eps is 0.5" in other.err and "with the default;" in other.err

    evaluated = rso("evaluate", tmp_path / "stopped", "--json")
    assert json.loads(evaluated.out)["test_accuracy"] == last["test_accuracy"]


def test_its_settings_are_stored_with_what_was_left_to_it(rso, tmp_path):
    assert rso(*digits(tmp_path / "run", *BRIEFLY)).status == 0
    stored = settings_of(tmp_path / "run")
    own = {"probes": "cheapest", "positions": "each", "eps": None, "step": "sgd"}
    own |= {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.0}
    own |= {"leaves": "together", "average": None, "norm": "none"}
    assert own.items() <= stored.items()


@pytest.mark.parametrize(
    "options",
    [
        ("--step", "muon", "--leaves", "in-turn", "--average", "0.9"),
        ("--step", "adamw", "--learning-rate", "0.01", "--probes", "nodes", "--eps", "0.05"),
        ("--probes", "towards", "--positions", "together"),
    ],
    ids=lambda options: " ".join(options),
)
def test_other_steps_and_probes_learn_and_resume(options, rso, tmp_path):
    assert rso(*digits(tmp_path / "whole", *options)).status == 0
    first, last = metrics_of(tmp_path / "whole")
    assert last["train_loss"] < first["train_loss"]
    assert rso(*digits(tmp_path / "run", *options, *BRIEFLY)).status == 0
    assert rso("train", "--resume", tmp_path / "run").status == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_arrays_that_take_turns_are_probed_each_on_its_own(rso, tmp_path):
    assert rso(*digits(tmp_path / "run", "--leaves", "in-turn")).status == 0
    # Eight mini-batches are two turns of kernels and shifts, and each step takes the value.
    last = metrics_of(tmp_path / "run")[-1]
    assert last["image_evaluations"] == 2 * (2 * (8 + 10) + 4) * 64
    with np.load(tmp_path / "run" / "params.npz") as params:
        assert all(params[name].any() for name in params.files)


def test_the_rate_of_arrays_that_take_turns_is_not_0_before_the_end(points, rso, tmp_path):
    data = ("--dataset", points, "--hidden", "--batch-size", "60", "--cycles", "4")
    run = ("train", "--optimizer", "slopes", *data, "--out", tmp_path / "run")
    assert rso(*run, "--leaves", "in-turn").status == 0
    # Four steps for a kernel, a scale and a shift: the last is the second one of the kernel.
    *_, third, fourth = (line["train_loss"] for line in metrics_of(tmp_path / "run"))
    assert fourth != third


def test_every_weight_is_probed_if_so_told(points, rso, tmp_path):
    data = ("--dataset", points, "--hidden", "--batch-size", "20", "--cycles", "1")
    run = ("train", "--optimizer", "slopes", *data, "--out", tmp_path / "run")
    assert rso(*run, "--probes", "weights").status == 0
    # A kernel, and scale and shift of batch norm; three mini-batches.
    (only,) = metrics_of(tmp_path / "run")
    assert only["image_evaluations"] == 60 * (12 * 3 + 3 + 3 + 1)
    assert settings_of(tmp_path / "run")["positions"] is None


def test_nodes_whose_examples_meet_in_batch_norm_are_moved_in_common_too(points, rso, tmp_path):
    data = ("--dataset", points, "--hidden", "--batch-size", "20", "--cycles", "1")
    assert rso("train", "--optimizer", "slopes", *data, "--out", tmp_path / "run").status == 0
    # Three mini-batches: a node apart, shifted and stretched, for a kernel; scale, shift, value.
    (only,) = metrics_of(tmp_path / "run")
    assert only["image_evaluations"] == 60 * (3 * 3 + 3 + 3 + 1)


def test_a_run_by_the_spectral_preset(points, tmp_path, rso):
    run = tmp_path / "run"
    options = ["--hidden", "--preset", "spectral", "--cycles", "60"]
    found = rso("train", "--optimizer", "slopes", "--dataset", points, "--out", run, *options)
    assert found.status == 0, found.err
    assert "by slopes, preset spectral: 60 cycles, batch 60" in found.out
    lines = metrics_of(run)
    assert [line["cycle"] for line in lines] == list(range(1, 61))
    # All 60 examples are fewer than the preset's 64: one mini-batch and one array a cycle. Three
    # cycles probe each weight once, and evaluate the weights as they are for every array.
    assert lines[2]["image_evaluations"] == 60 * (12 * 3 + 3 + 3 + 3)
    assert lines[-1]["train_loss"] < 0.5 * lines[0]["train_loss"]


def test_a_search_by_the_spectral_preset_is_scored_but_not_begun(rso, tmp_path):
    before = RESULTS / "digits" / "spectral-seed0"
    found = rso("evaluate", before, "--json")
    assert found.status == 0, found.err
    assert json.loads(found.out)["test_accuracy"] == metrics_of(before)[-1]["test_accuracy"]
    refused = rso("train", "--preset", "spectral", "--out", tmp_path / "run")
    assert refused.status == 2 and refused.err.count("\n") == 1
    assert "pass --optimizer slopes --preset spectral" in refused.err
