"""``rso train --start``: a run that begins where another one ended, of some layers if wanted."""

import shutil

import numpy as np
import pytest
from small_runs import assert_same_run

BRIEFLY = ("--max-minutes", "1e-6")
HEADED = ("--heads", "1", "--optimizer", "sgd", "--cycles", "2")
ON_ONE_LOSS = ("--optimizer", "slopes", "--cycles", "2", "--batch-size", "20")


@pytest.fixture(scope="module")
def train(points):
    """The arguments of a network 12-5-3 without normalisation."""
    network = ("--hidden", "5", "--norm", "none")
    return lambda *more: ("train", "--dataset", points, *network, *more)


def weights(folder):
    with np.load(folder / "params.npz") as file:
        return {name: file[name] for name in file.files}


def test_the_last_layer_is_trained_on_where_heads_were(train, rso, tmp_path):
    before, after, whole = (tmp_path / name for name in ("before", "after", "whole"))
    assert rso(*train(*HEADED, "--out", before)).status == 0
    further = train(*ON_ONE_LOSS, "--start", before, "--only", "output")
    assert rso(*further, "--out", whole).status == 0
    assert rso(*further, "--out", after, *BRIEFLY).status == 0
    begun, away = weights(before), tmp_path / "away"
    before.rename(away)
    found = rso("train", "--resume", after)  # stopped before its first step
    assert found.status == 2 and f"{before} does not exist" in found.err
    away.rename(before)
    assert rso("train", "--resume", after).status == 0
    assert_same_run(after, whole)
    ended = weights(after)
    assert begun.keys() - ended.keys() == {"params/hidden1_head/kernel"}
    for name, array in ended.items():
        moved = not np.array_equal(array, begun[name])
        assert moved == ("output" in name), name
    assert rso("evaluate", after).status == 0


def test_a_run_goes_on_without_the_one_it_began_with(train, rso, tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    assert rso(*train(*HEADED, "--out", before)).status == 0
    begun = weights(before)
    further = train(*ON_ONE_LOSS, "--start", before, "--only", "output")
    assert rso(*further, "--out", after).status == 0
    *_, newest = sorted((after / "checkpoints").glob("[0-9]*"))
    shutil.rmtree(newest)  # as if it had been stopped in between
    before.rename(tmp_path / "away")
    assert rso("train", "--resume", after).status == 0
    for name, array in weights(after).items():
        assert np.array_equal(array, begun[name]) == ("output" not in name), name


def test_heads_that_were_not_there_begin_as_drawn(train, rso, tmp_path):
    plain, headed = tmp_path / "plain", tmp_path / "headed"
    assert rso(*train("--optimizer", "sgd", "--cycles", "1", "--out", plain)).status == 0
    file = plain / "params.npz"
    search = ("--heads", "1", "--cycles", "1", "--only", "hidden1_head", "--out", headed)
    found = rso(*train("--optimizer", "rso", "--start", file, *search))
    assert found.status == 0, found.err
    begun, ended = weights(plain), weights(headed)
    for name, array in begun.items():
        np.testing.assert_array_equal(ended[name], array)
    assert ended.keys() - begun.keys() == {"params/hidden1_head/kernel"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--start", "nowhere"), "nowhere does not exist"),
        (("--start", "other.npz"), "hidden1/kernel has shape (3, 3) in the file and (12, 5)"),
        # Its kernel fits behind a hidden layer of as many channels as there are features.
        (
            ("--heads", "1", "--head-width", "5", "--start", "headed.npz"),
            "hidden1_head/hidden/bias has shape none in the file and (5,) in the network",
        ),
        (("--only", "ouput"), "--only"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_runs(more, message, train, rso, tmp_path):
    shapes = {
        "hidden1/bias": 5,
        "hidden1/kernel": (3, 3),
        "output/bias": 3,
        "output/kernel": (5, 3),
    }
    np.savez(tmp_path / "other.npz", **{f"params/{k}": np.zeros(v) for k, v in shapes.items()})
    shapes |= {"hidden1/kernel": (12, 5), "hidden1_head/kernel": (5, 3)}
    np.savez(tmp_path / "headed.npz", **{f"params/{k}": np.zeros(v) for k, v in shapes.items()})
    found = rso(*train(*more, "--out", tmp_path / "run"))
    assert found.status == 2 and message in found.err
    assert not (tmp_path / "run").exists()
