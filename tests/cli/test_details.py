"""What a run is told of its data and network beside their names is stored, and holds on resume."""

import json

import numpy as np
import pytest
from small_runs import assert_same_run, metrics_of

BRIEFLY = ("--max-minutes", "1e-6")


def settings_of(folder):
    return json.loads((folder / "config.json").read_text())["settings"]


@pytest.fixture
def images(tmp_path):
    """Three kinds of small images."""
    rng = np.random.default_rng(0)
    found = {}
    for split, n in (("train", 40), ("test", 20)):
        labels = rng.integers(0, 3, n)
        pixels = rng.normal(size=(n, 4, 4, 1)) + labels[:, None, None, None]
        found |= {f"x_{split}": pixels.astype(np.float32), f"y_{split}": labels}
    np.savez(tmp_path / "images.npz", **found)
    return tmp_path / "images.npz"


def test_norm_shift_and_flip_are_stored_and_read_again(images, rso, tmp_path):
    data = ("--dataset", images, "--hidden", "5", "--norm", "layer", "--shift", "1", "--flip")
    schedule = ("--optimizer", "sgd", "--cycles", "2", "--batch-size", "20")
    for name, more in (("whole", ()), ("run", BRIEFLY), ("unflipped", ()), ("still", ())):
        changed = {"unflipped": data[:-1], "still": data[:-3]}.get(name, data)
        found = rso("train", *changed, *schedule, "--out", tmp_path / name, *more)
        assert found.status == 0, found.err
        said = {"unflipped": "shifted by up to 1 at", "still": "run folder"}
        assert said.get(name, "training images shifted by up to 1 and flipped at") in found.out
        assert (name == "still") == ("training images" not in found.out)
    stored = settings_of(tmp_path / "run")
    assert (stored["norm"], stored["shift"], stored["flip"]) == ("layer", 1, True)
    still = settings_of(tmp_path / "still")
    assert still["shift"] is None and still["flip"] is False

    other = rso("train", "--resume", tmp_path / "still", "--flip")
    assert other.status == 2 and "--flip is True" in other.err
    assert rso("train", "--resume", tmp_path / "run", "--flip").status == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    names = ("whole", "unflipped", "still")
    assert len({metrics_of(tmp_path / name)[-1]["train_loss"] for name in names}) == 3
    evaluated = rso("evaluate", tmp_path / "run", "--json")
    last = metrics_of(tmp_path / "whole")[-1]
    assert json.loads(evaluated.out)["test_accuracy"] == last["test_accuracy"]


def test_a_run_from_before_there_were_norms_and_augmentations_goes_on(points, rso, tmp_path):
    train = ("train", "--dataset", points, "--optimizer", "sgd", "--hidden", "5", "--cycles", "2")
    whole, older = tmp_path / "whole", tmp_path / "older"
    assert rso(*train, "--out", whole).status == 0
    assert settings_of(whole)["norm"] == "batch"
    assert rso(*train, "--out", older, *BRIEFLY).status == 0
    config = json.loads((older / "config.json").read_text())
    for name in ("norm", "shift", "flip"):
        del config["settings"][name]
    (older / "config.json").write_text(json.dumps(config))
    assert rso("train", "--resume", older).status == 0
    assert_same_run(older, whole)
    assert rso("evaluate", older).status == 0


HEADED = ("--hidden", "5", "4", "--heads", "1", "--optimizer", "sgd", "--cycles", "2")


def test_a_network_with_heads_is_stored_scored_and_scored_otherwise(points, rso, tmp_path):
    readout = ("--readout", "heads", "--first-head", "2")
    for name, more in (("whole", ()), ("run", BRIEFLY)):
        found = rso("train", "--dataset", points, *HEADED, *readout, "--out", name, *more)
        assert found.status == 0, found.err
        # 12-5-4-3 without biases but with batch norm; a head of 5 and one of 4 features.
        assert "mlp (116 weights + 27 in heads) on" in found.out
    run = tmp_path / "run"
    stored = settings_of(run)
    assert (stored["heads"], stored["readout"], stored["first_head"]) == (1, "heads", 2)
    assert rso("train", "--resume", run).status == 0
    assert_same_run(run, tmp_path / "whole")

    def evaluate(*how):
        return json.loads(rso("evaluate", run, "--json", *how).out)

    last = metrics_of(run)[-1]
    of_run, of_head, of_output = evaluate(), *(evaluate("--readout", r) for r in READOUTS)
    assert of_run["test_loss"] == last["test_loss"]
    assert (of_run["readout"], of_run["first_head"]) == ("heads", 2)
    # Of two heads the second alone is the last; added up alone it says the same.
    assert of_head["test_loss"] == pytest.approx(of_run["test_loss"], rel=1e-5)
    assert of_head["readout"] == "last-head" and of_output["readout"] == "output"
    assert len({found["test_loss"] for found in (of_run, of_output, evaluate(*FIRST))}) == 3
    assert "log-probabilities of the heads from 1 on" in rso("evaluate", run, *FIRST).out


def test_a_network_with_wide_heads_is_counted_stored_and_scored_again(points, rso, tmp_path):
    wide = ("--head-width", "3", "--readout", "heads", "--out", "run")
    found = rso("train", "--dataset", points, *HEADED, *wide)
    assert found.status == 0, found.err
    # Of hidden layers with biases on 5 and on 4 features, and of 3 logits behind each.
    assert f"mlp (116 weights + {6 * 3 + 5 * 3 + 2 * 3 * 3} in heads) on" in found.out
    assert settings_of(tmp_path / "run")["head_width"] == 3
    scored = json.loads(rso("evaluate", tmp_path / "run", "--json").out)
    assert scored["test_loss"] == metrics_of(tmp_path / "run")[-1]["test_loss"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--head-width", "3"), "--head-width is 3 but there are no heads; add --heads"),
        (("--heads", "1", "--head-width", "0"), "--head-width is 0; it must be at least 1"),
    ],
)
def test_widths_of_heads_that_are_refused(points, rso, given, said):
    refused = rso("train", "--dataset", points, *given)
    assert refused.status == 2 and said in refused.err and "Traceback" not in refused.err


READOUTS = ("last-head", "output")
FIRST = ("--first-head", "1")


def test_a_run_from_before_there_were_heads_goes_on(points, rso, tmp_path):
    older, train = tmp_path / "older", ("--optimizer", "sgd", "--hidden", "5", "--cycles", "2")
    assert rso("train", "--dataset", points, *train, "--out", older, *BRIEFLY).status == 0
    config = json.loads((older / "config.json").read_text())
    for name in ("heads", "head_width", "readout", "first_head"):
        assert config["settings"].pop(name) is None
    (older / "config.json").write_text(json.dumps(config))
    assert rso("train", "--resume", older).status == 0
    found = rso("evaluate", older, "--json")
    assert found.status == 0 and "readout" not in json.loads(found.out)
    refused = rso("evaluate", older, "--readout", "last-head")
    assert refused.status == 2 and "has no heads; leave --readout" in refused.err
