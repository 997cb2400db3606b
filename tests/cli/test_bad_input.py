"""Bad input: one line that names the value and the remedy, exit code 2, nothing touched."""

import json
import shutil

import numpy as np
import pytest
from small_runs import arrays, content_of

RUN, NEW = "run", "new"


def with_arrays(name, **changed):
    np.savez(name, **arrays() | changed)


@pytest.fixture
def workplace(tmp_path, sgd_run, points):
    """A folder with a run, data sets that are wrong in one way, and files in the way."""
    shutil.copytree(sgd_run, tmp_path / RUN)
    shutil.copy(points, tmp_path / "points.npz")
    labels = arrays()["y_test"]
    with_arrays("negative.npz", y_train=np.where(np.arange(60) == 7, -1, arrays()["y_train"]))
    with_arrays("unseen.npz", y_test=np.where(np.arange(30) == 9, 8, labels))
    with_arrays("widths.npz", x_test=np.zeros((30, 11), np.float32))
    np.savez("other-shapes.npz", **{"params/hidden1/kernel": np.zeros((2, 2), np.float32)})
    (tmp_path / "text.npz").write_text("not an archive")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "empty").mkdir()
    return tmp_path


TRAIN = ("train", "--dataset", "points.npz")
SGD, OPEN_ES = (*TRAIN, "--optimizer", "sgd"), (*TRAIN, "--optimizer", "open-es")
SLOPES = (*TRAIN, "--optimizer", "slopes")
CASES = {
    "unknown data set": (("train", "--dataset", "mnits"), ["'mnits'", "did you mean 'mnist'"]),
    "missing data file": (("train", "--dataset", "no.npz"), ["no.npz", ".npz"]),
    "damaged data file": (("train", "--dataset", "text.npz"), ["text.npz", "numpy.savez"]),
    "unknown model": ((*TRAIN, "--model", "papermnist"), ["'papermnist'", "'paper-mnist'"]),
    "heads without bins": ((*TRAIN, "--heads", "0"), ["--heads is 0", "at least 1"]),
    "bins of what has no pixels": ((*TRAIN, "--heads", "4"), ["heads is 4", "at most 1"]),
    "readout without heads": ((*TRAIN, "--readout", "heads"), ["--readout", "add --heads"]),
    "unknown readout": (
        (*TRAIN, "--heads", "1", "--readout", "lasthead"),
        ["'lasthead'", "'last-head'"],
    ),
    "first head of another readout": (
        (*TRAIN, "--heads", "1", "--first-head", "2"),
        ["--first-head is 2", "--readout heads"],
    ),
    "first head beyond the last": (
        (*TRAIN, "--heads", "1", "--readout", "heads", "--first-head", "2"),
        ["number 2, of 1 heads: hidden1"],
    ),
    "no data directory": (
        ("train", "--dataset", "mnist", "--data-dir", "nowhere"),
        ["nowhere", "rso data import mnist"],
    ),
    "data directory without the data": (
        ("train", "--dataset", "mnist", "--data-dir", "empty"),
        ["empty", "rso data import mnist"],
    ),
    "folder with a run": ((*TRAIN, "--out", RUN), [RUN, "--resume", "--overwrite"]),
    "folder of something else": ((*TRAIN, "--out", "mine"), ["mine", "--out"]),
    "folder of something else, overwriting": (
        (*TRAIN, "--out", "mine", "--overwrite"),
        ["mine", "--out"],
    ),
    "file as folder": ((*TRAIN, "--out", "points.npz"), ["points.npz", "--out"]),
    "folder below a file": ((*TRAIN, "--out", "points.npz/run"), ["points.npz/run", "--out"]),
    "batch of none": ((*TRAIN, "--batch-size", "0"), ["--batch-size is 0", "at least 1"]),
    "batch above the data": ((*TRAIN, "--batch-size", "61"), ["61", "60 training examples"]),
    "no cycles": ((*TRAIN, "--cycles", "0"), ["--cycles is 0"]),
    "no time": ((*TRAIN, "--max-minutes", "0"), ["--max-minutes is 0"]),
    "time that is no number": ((*TRAIN, "--max-minutes", "nan"), ["--max-minutes is nan"]),
    "no memory": ((*TRAIN, "--memory-gib", "-1"), ["--memory-gib is -1"]),
    "negative seed": ((*TRAIN, "--seed", "-1"), ["--seed is -1"]),
    "decay above one": ((*TRAIN, "--weight-decay", "2"), ["--weight-decay is 2.0"]),
    "rate of zero": ((*SGD, "--learning-rate", "0"), ["--learning-rate is 0.0"]),
    "rate without end": ((*SGD, "--learning-rate", "inf"), ["--learning-rate is inf"]),
    "momentum of one": ((*SGD, "--momentum", "1"), ["--momentum is 1.0"]),
    "rate of a search": (
        (*TRAIN, "--learning-rate", "0.1"),
        ["--learning-rate is of slopes, sgd, adam, open-es", "leave it out for rso, or pass"],
    ),
    "momentum of rso": (
        (*TRAIN, "--momentum", "0.5"),
        ["leave it out for rso, or pass --optimizer slopes or sgd\n"],
    ),
    "momentum of adam": (
        (*TRAIN, "--optimizer", "adam", "--momentum=0.5"),
        ["--momentum is of slopes and sgd; leave it out for adam"],
    ),
    "misspelt flag": (
        (*SGD, "--momentun", "0.5"),
        ["rso train has no flag --momentun: did you mean '--momentum'"],
    ),
    "misspelt flag of another method": (
        (*TRAIN, "--learnig-rate=2"),
        ["rso train has no flag --learnig-rate: did you mean '--learning-rate'"],
    ),
    "misspelt flag of another command": (
        ("explain", "--coordinatorr", "a"),
        ["rso explain has no flag --coordinatorr: see rso explain --help"],
    ),
    "one word too many": ((*TRAIN, "fast"), ["rso train has no argument fast"]),
    "misspelt command": (("trian",), ["'trian'", "did you mean 'train'"]),
    "unknown command": (("nonsense",), ["'nonsense'", "known are 'train', 'evaluate'"]),
    "explain by gradient": (
        ("explain", "--optimizer", "sgd"),
        ["--optimizer is sgd but rso explain is of rso and slopes; leave it out"],
    ),
    "explain where a search is dense by slopes": (
        ("explain", "--optimizer", "slopes", "--why"),
        ["--why is of rso; leave it out for slopes, or pass --optimizer rso"],
    ),
    "momentum of an explained search": (
        ("explain", "--momentum", "0.5"),
        ["--momentum is of slopes; leave it out for rso, or pass --optimizer slopes"],
    ),
    "optimizer without a name": (("train", "--optimizer"), ["--optimizer has no value"]),
    "unknown preset": ((*TRAIN, "--preset", "papers"), ["'papers'", "did you mean 'paper'"]),
    "unknown preset of a baseline": ((*SGD, "--preset", "nix"), ["--preset is 'nix'"]),
    "unknown order": ((*TRAIN, "--order", "randm"), ["'randm'", "did you mean 'random'"]),
    "unknown type": ((*TRAIN, "--activations", "bf16"), ["--activations is 'bf16'"]),
    "unknown optimizer": ((*TRAIN, "--optimizer", "sdg"), ["'sdg'", "did you mean 'sgd'"]),
    "decay of a population": ((*OPEN_ES, "--weight-decay", "0.1"), ["--weight-decay", "open-es"]),
    "population of a gradient": (
        (*SGD, "--population", "8"),
        ["--population is of open-es, pgpe, snes and spsa; leave it out for sgd, or pass"],
    ),
    "odd population": ((*OPEN_ES, "--population", "7"), ["--population is 7", "even"]),
    "population that stands still": ((*OPEN_ES, "--sigma", "0"), ["--sigma is 0.0", "above 0"]),
    "blocks of a population": (
        (*OPEN_ES, "--block", "leaf"),
        ["--block is of rso; leave it out for open-es"],
    ),
    "population of no pairs": (
        (*TRAIN, "--optimizer", "spsa", "--population", "3"),
        ["--population is 3", "even"],
    ),
    "preset that is no search": (
        (*TRAIN, "--preset", "spectral"),
        ["--preset spectral is of slopes, not of rso; pass --optimizer slopes --preset spectral"],
    ),
    "explained preset that is no search": (
        ("explain", "--preset", "spectral"),
        ["--preset spectral is of slopes", "pass --optimizer slopes --preset spectral"],
    ),
    "probe of no size": ((*SLOPES, "--eps", "0"), ["--eps is 0.0", "above 0"]),
    "slope without a rate": ((*SLOPES, "--learning-rate", "-1"), ["--learning-rate is -1.0"]),
    "slope with a momentum of one": ((*SLOPES, "--momentum", "1"), ["--momentum is 1.0"]),
    "average that stands still": (
        (*SLOPES, "--average", "1"),
        ["--average is 1.0; it must be between 0 and 1"],
    ),
    "unknown probes": ((*SLOPES, "--probes", "node"), ["'node'", "did you mean 'nodes'"]),
    "unknown step": ((*SLOPES, "--step", "adam"), ["'adam'", "did you mean 'adamw'"]),
    "unknown turns": ((*SLOPES, "--leaves", "turn"), ["--leaves is 'turn'", "'in-turn'"]),
    "unknown positions": ((*SLOPES, "--positions", "all"), ["--positions is 'all'", "'each'"]),
    "positions of weights": (
        (*SLOPES, "--probes", "weights", "--positions", "each"),
        ["--positions is each but --probes weights moves no nodes; leave one of them out"],
    ),
    "step of a preset": (
        (*SLOPES, "--preset", "spectral", "--step", "sgd"),
        ["--step is sgd but --preset spectral says that itself; leave one of them out"],
    ),
    "two batch sizes of slopes": (
        (*SLOPES, "--batch-size", "9", "10"),
        ["--batch-size has 2 values", "slopes"],
    ),
    "unknown norm": ((*TRAIN, "--norm", "bach"), ["'bach'", "did you mean 'batch'"]),
    "shift by nothing": ((*TRAIN, "--shift", "0"), ["--shift is 0", "at least 1"]),
    "shift of what is no image": ((*TRAIN, "--shift", "2"), ["(12,)", "images"]),
    "flip of what is no image": ((*TRAIN, "--flip"), ["(12,)", "images", "flipped"]),
    "no pairs": ((*TRAIN, "--pairs", "0"), ["--pairs is 0", "1 to 63"]),
    "the same tried twice": (
        (*TRAIN, "--pairs", "2", "--proposal", "fixed"),
        ["--pairs is 2", "fixed", "normal or uniform"],
    ),
    "below the coldest": ((*TRAIN, "--temperature", "-1"), ["--temperature is -1.0"]),
    "unknown ties": ((*TRAIN, "--ties", "drawn"), ["--ties is 'drawn'", "did you mean 'draw'"]),
    "ties beside a temperature": (
        (*TRAIN, "--ties", "draw", "--temperature", "1"),
        ["--ties is draw but --temperature 1.0", "leave one of them out"],
    ),
    "unknown loss": ((*TRAIN, "--loss", "zero_one"), ["'zero_one'", "did you mean 'zero-one'"]),
    "unknown mini-batches": (
        (*TRAIN, "--minibatches", "per-layer"),
        ["'per-layer'", "did you mean 'per-leaf'"],
    ),
    "unknown proposal": (
        (*TRAIN, "--proposal", "normall"),
        ["'normall'", "'normal'", "known are 'normal', 'uniform', 'fixed'"],
    ),
    "no mini-batch": (
        (*TRAIN, "--batches-per-cycle", "0"),
        ["--batches-per-cycle is 0", "at least 1"],
    ),
    "looking back": ((*TRAIN, "--look-ahead", "-1"), ["--look-ahead is -1", "at least 0"]),
    "slopes that look back": (
        (*SLOPES, "--preset", "spectral", "--look-ahead", "-1"),
        ["--look-ahead is -1", "at least 0"],
    ),
    "one batch of none": ((*TRAIN, "--batch-size", "9", "0"), ["--batch-size is 0"]),
    "more batch sizes than cycles": (
        (*TRAIN, "--cycles", "1", "--batch-size", "9", "10"),
        ["--batch-size has 2 values for 1 cycles"],
    ),
    "more batch sizes than cycles by default": (
        ("train", "--dataset", "digits", "--batch-size", "9", "10", "11", "12"),
        ["--batch-size has 4 values for 3 cycles"],
    ),
    "more blocks than cycles by default": (
        ("train", "--dataset", "digits", "--block", "leaf", "column", "2", "1"),
        ["--block has 4 values for 3 cycles"],
    ),
    "batch sizes of epochs": (
        (*SGD, "--batch-size", "9", "10"),
        ["--batch-size has 2 values", "sgd"],
    ),
    "epochs of a part": (
        (*SGD, "--batches-per-cycle", "2"),
        ["--batches-per-cycle is of rso", "leave it out for sgd"],
    ),
    "block of none": ((*TRAIN, "--block", "0"), ["--block is 0", "column or leaf"]),
    "block of a layer": ((*TRAIN, "--block", "layer"), ["--block is layer", "column or leaf"]),
    "joint step of one weight": (
        (*TRAIN, "--joint-step", "accepted"),
        ["--joint-step is accepted", "--block"],
    ),
    "unknown joint step": (
        (*TRAIN, "--block", "4", "--joint-step", "parabolic"),
        ["'parabolic'", "did you mean 'parabola'"],
    ),
    "width of zero": ((*TRAIN, "--hidden", "0"), ["(0,)", "at least 1"]),
    "too few examples": ((*TRAIN, "--train-examples", "61"), ["61", "60"]),
    "images of another size": (
        (*TRAIN, "--model", "paper-mnist"),
        ["paper-mnist", "(28, 28, 1)", "(12,)", "--model mlp"],
    ),
    "negative label": (("train", "--dataset", "negative.npz"), ["y_train is -1 at 7", "0..2"]),
    "label never trained": (("train", "--dataset", "unseen.npz"), ["y_test is 8 at 9", "0..2"]),
    "two widths": (("train", "--dataset", "widths.npz"), ["(12,)", "(11,)"]),
    "resume with another seed": (
        ("train", "--resume", RUN, "--seed", "5"),
        ["--seed is 5", "started with 0", RUN],
    ),
    "resume with other widths": (
        ("train", "--resume", RUN, "--hidden", "7", "7"),
        ["--hidden is 7 7", "started with 5;"],
    ),
    "resume on another data set": (
        ("train", "--resume", RUN, "--dataset", "digits"),
        ["--dataset is digits", RUN],
    ),
    "resume on a file that is not there": (
        ("train", "--resume", RUN, "--dataset", "no.npz"),
        ["no.npz", "does not exist", "--dataset FILE.npz"],
    ),
    "resume by another method": (
        ("train", "--resume", RUN, "--optimizer", "adam"),
        ["--optimizer is adam", "started with sgd", RUN],
    ),
    "resume with a flag of another method": (
        ("train", "--resume", RUN, "--temperature", "1"),
        ["--temperature is of rso; leave it out for sgd"],
    ),
    "resume without a run": (("train", "--resume", NEW), [NEW, "holds no run"]),
    "resume elsewhere": (("train", "--resume", RUN, "--out", NEW), [RUN, NEW]),
    "resume and overwrite": (("train", "--resume", RUN, "--overwrite"), ["choose one"]),
    "evaluate on another data set": (
        ("evaluate", RUN, "--dataset", "digits"),
        ["--dataset is digits", "points.npz"],
    ),
    "evaluate on a file that is not there": (
        ("evaluate", RUN, "--dataset", "no.npz"),
        ["no.npz", "does not exist", "--dataset FILE.npz"],
    ),
    "evaluate without a run": (("evaluate", NEW), [NEW, "holds no run"]),
    "parameters of other shapes": (
        ("evaluate", RUN, "--params", "other-shapes.npz"),
        ["other-shapes.npz", "params/hidden1"],
    ),
    "no parameters": (("evaluate", RUN, "--params", "no.npz"), ["no.npz", "does not exist"]),
    "parameters that are text": (("evaluate", RUN, "--params", "text.npz"), ["text.npz", ".npz"]),
    "plot of nothing": (("plot",), ["no run to plot"]),
    "plot without a run": (("plot", NEW), [NEW, "holds no run"]),
    "plot of a folder of runs": (("plot", "."), ["config.json", "it holds runs: name one, as "]),
    "plot into nowhere": (("plot", RUN, "--out", "no/a.png"), ["no", "--out"]),
    "plot as nothing known": (("plot", RUN, "--out", "a.foo"), ["a.foo", ".png"]),
    "import of nothing": (
        ("data", "import", "mnist", "no", "--data-dir", "empty"),
        ["no does not"],
    ),
    "list of nothing": (("data", "list", "--data-dir", "no"), ["--data-dir no"]),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_nothing_touched(case, workplace, rso):
    arguments, named = CASES[case]
    before = content_of(workplace)
    if arguments[0] == "train" and not {"--out", "--resume"} & set(arguments):
        arguments = (*arguments, "--out", NEW)
    found = rso(*arguments)
    assert found.status == 2
    assert found.out == ""
    assert found.err.startswith("rso: error: ") and found.err.count("\n") == 1
    for words in named:
        assert words in found.err
    assert content_of(workplace) == before
    assert not (workplace / NEW).exists()


@pytest.mark.parametrize(
    "arguments", [("train", "--cycles"), ("train", "--cycles", "three"), ("data",), ("--nothing",)]
)
def test_what_the_parser_refuses(arguments, rso, tmp_path):
    found = rso(*arguments)
    assert found.status == 2 and found.out == "" and "Traceback" not in found.err
    assert not any(tmp_path.iterdir())


def test_resume_with_other_data(workplace, rso):
    config = json.loads((workplace / RUN / "config.json").read_text())
    config["settings"]["dataset"] = "other.npz"
    (workplace / RUN / "config.json").write_text(json.dumps(config))
    with_arrays("other.npz", x_train=np.zeros((60, 12), np.float32))
    for command in (("train", "--resume", RUN), ("evaluate", RUN)):
        found = rso(*command)
        assert found.status == 2 and "data differs" in found.err and found.err.count("\n") == 1


def test_settings_of_another_version(workplace, rso):
    config = json.loads((workplace / RUN / "config.json").read_text())
    config["settings"]["teleport"] = True
    (workplace / RUN / "config.json").write_text(json.dumps(config))
    found = rso("train", "--resume", RUN)
    assert found.status == 2 and "teleport" in found.err and found.err.count("\n") == 1
    config["software"]["rso_jax"] = "99.0"
    (workplace / RUN / "config.json").write_text(json.dumps(config))
    for command in (("train", "--resume", RUN), ("evaluate", RUN)):
        found = rso(*command)
        assert found.status == 2 and found.err.count("\n") == 1
        assert "teleport" in found.err and "rso_jax 99.0 wrote it" in found.err


def test_settings_of_a_method_that_was_dropped(workplace, rso):
    config = json.loads((workplace / RUN / "config.json").read_text())
    config["settings"]["optimizer"] = "telepathy"
    (workplace / RUN / "config.json").write_text(json.dumps(config))
    found = rso("evaluate", RUN)
    assert found.status == 2 and "telepathy" in found.err and found.err.count("\n") == 1


def test_settings_of_a_version_that_is_not_named(workplace, rso):
    config = json.loads((workplace / RUN / "config.json").read_text())
    config["settings"]["teleport"] = True
    del config["software"]
    (workplace / RUN / "config.json").write_text(json.dumps(config))
    found = rso("evaluate", RUN)
    assert found.status == 2 and found.err.count("\n") == 1
    assert "teleport" in found.err and "another rso_jax wrote it" in found.err


def test_a_run_without_its_network(workplace, rso):
    (workplace / RUN / "params.npz").unlink()
    found = rso("evaluate", RUN)
    assert found.status == 2 and found.err.count("\n") == 1
    assert "no trained network was saved" in found.err and "--params" in found.err


def test_config_that_is_no_json(workplace, rso):
    (workplace / RUN / "config.json").write_text("{")
    found = rso("evaluate", RUN)
    assert found.status == 2 and "config.json" in found.err and found.err.count("\n") == 1
