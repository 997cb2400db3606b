"""What ``rso train`` writes, and what ``rso evaluate`` and ``rso plot`` make of it."""

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from small_runs import content_of, metrics_of, sgd_arguments, start

from rso_jax.cli import main
from rso_jax.cli.methods import METHODS
from rso_jax.training.run_folder import claim_folder

RSO = ("--hidden", "5", "--cycles", "2", "--batch-size", "30", "--seed", "3")
WEIGHTS = 12 * 5 + 5 * 3 + 2 * (5 + 3)


@pytest.fixture(scope="module")
def rso_run(points, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "by-rso"
    assert main(["train", "--dataset", str(points), "--out", str(folder), *RSO]) == 0
    return folder


def test_a_run_folder_holds_what_was_promised(rso_run):
    names = {"config.json", "metrics.jsonl", "params.npz", "curve.png", "checkpoints"}
    assert {path.name for path in rso_run.iterdir()} == names
    assert (rso_run / "curve.png").read_bytes().startswith(b"\x89PNG")

    config = json.loads((rso_run / "config.json").read_text())
    settings = config["settings"]
    assert (settings["model"], settings["hidden"], settings["seed"]) == ("mlp", [5], 3)
    assert config["software"]["jax"] and config["hardware"]["cpu_cores"]

    first, second = metrics_of(rso_run)
    assert (first["cycle"], second["cycle"]) == (1, 2)
    for line in (first, second):
        assert 0 <= line["test_accuracy"] <= 1 and 0 <= line["accepted"] <= WEIGHTS
        assert line["train_loss"] > 0 and line["seconds"] > 0
        assert line["accepted_share"] == line["accepted"] / WEIGHTS
    # A visit scores the incumbent and two candidates on a mini-batch of 30.
    assert first["image_evaluations"] == 3 * 30 * WEIGHTS
    assert second["image_evaluations"] == 2 * 3 * 30 * WEIGHTS
    assert second["weight_updates"] == 2 * WEIGHTS and second["updates_per_weight"] == 2


def test_a_run_of_other_pieces(points, tmp_path, rso):
    pieces = ["--proposal", "uniform", "--pairs", "2", "--minibatches", "per-cycle"]
    pieces += ["--temperature", "0.5", "--weight-decay", "0", "--order", "random"]
    train = ("train", "--dataset", points, "--hidden", "--cycles", "2", "--batch-size", "30")
    found = rso(*train, "--out", tmp_path / "run", *pieces)
    assert found.status == 0, found.err
    first, _ = metrics_of(tmp_path / "run")
    # Four candidates of every weight, and the incumbent once for each column: 3 of the kernel,
    # and every scale and bias.
    assert first["image_evaluations"] == 30 * (4 * 12 * 3 + 3 + 5 * 6)


def test_runs_on_errors(points, tmp_path, rso):
    train = ("train", "--dataset", points, "--hidden", "--cycles", "1")
    losses = {}
    for loss in ("zero-one", "errors-first"):
        out = tmp_path / loss
        assert rso(*train, "--loss", loss, "--ties", "draw", "--out", out).status == 0
        losses[loss] = metrics_of(out)[0]["minibatch_loss"]
    # The mean of the shares of errors of whole mini-batches, of 60 examples; with a margin above.
    of_mean, above = 60 * losses["zero-one"], 60 * losses["errors-first"] % 1
    assert 0 < of_mean < 60 and 0.25 < above < 0.75


def test_a_run_of_blocks_and_batches_that_change(points, tmp_path, rso):
    changing = ["--batch-size", "10", "30", "--block", "leaf", "column", "--joint-step", "together"]
    train = ["train", "--dataset", points, "--hidden", "--cycles", "3", *changing]
    run = tmp_path / "run"
    assert rso(*train, "--out", run).status == 0
    first, _, third = metrics_of(run)
    # A draw and its opposite beside the incumbent: for each of 3 leaves, then for each column,
    # of which scale and bias have as many as numbers.
    assert first["image_evaluations"] == 3 * 10 * 3
    assert third["image_evaluations"] == 3 * (2 * 10 * 3 + 30 * (3 + 6))
    assert rso("train", "--resume", run).status == 0
    other = rso("train", "--resume", run, "--batch-size", "10", "20")
    assert other.status == 2 and "was started with 10 30;" in other.err


def test_parameters_are_plain_arrays(rso_run):
    with np.load(rso_run / "params.npz", allow_pickle=False) as file:
        shapes = {name: file[name].shape for name in file.files}
    assert shapes["params/hidden1/kernel"] == (12, 5)
    assert shapes["params/output/kernel"] == (5, 3)
    trained = sum(np.prod(s) for name, s in shapes.items() if name.startswith("params/"))
    assert trained == WEIGHTS
    assert any(name.startswith("batch_stats/") for name in shapes)


@pytest.mark.parametrize("which", ["rso_run", "sgd_run"])
def test_evaluate_finds_the_accuracy_of_the_last_cycle(which, request, rso):
    folder = request.getfixturevalue(which)
    before = content_of(folder)
    found = rso("evaluate", folder, "--json")
    assert found.status == 0 and found.err == ""
    scored, last = json.loads(found.out), metrics_of(folder)[-1]
    assert scored["test_accuracy"] == last["test_accuracy"]
    assert scored["test_loss"] == last["test_loss"]
    assert scored["test_examples"] == 30 and scored["model"] == "mlp"
    table = rso("evaluate", folder)
    assert f"{last['test_accuracy']:.2%}" in table.out
    assert content_of(folder) == before


def test_a_network_that_diverged_is_scored_in_json(sgd_run, rso, tmp_path):
    with np.load(sgd_run / "params.npz") as file:
        np.savez(tmp_path / "nan.npz", **{name: np.full_like(file[name], np.nan) for name in file})
    found = rso("evaluate", sgd_run, "--params", tmp_path / "nan.npz", "--json")
    assert found.status == 0

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    scored = json.loads(found.out, parse_constant=refuse)
    assert scored["test_loss"] is None and 0 <= scored["test_accuracy"] <= 1


def test_a_gradient_counts_as_three_evaluations_and_updates_every_weight(sgd_run):
    for epoch, line in enumerate(metrics_of(sgd_run), start=1):
        assert line["image_evaluations"] == epoch * 3 * 60
        assert line["weight_updates"] == epoch * 3 * WEIGHTS
        assert line["updates_per_weight"] == epoch * 3


def test_both_optimisers_write_the_same_metrics(rso_run, sgd_run):
    of_search = {"candidates", "not_finite"}
    assert metrics_of(rso_run)[0].keys() - of_search == metrics_of(sgd_run)[0].keys()


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_plot_of_two_runs(rso_run, sgd_run, rso, tmp_path, ending):
    picture = tmp_path / f"both.{ending}"
    assert rso("plot", rso_run, sgd_run, "--out", picture).status == 0
    content = picture.read_bytes()
    assert content.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending])
    if ending == "svg":
        text = content.decode()
        assert "by-rso (rso)" in text and "by-sgd (sgd)" in text


def test_plot_of_runs_of_one_name(sgd_run, rso, tmp_path):
    for of in ("a", "b"):
        shutil.copytree(sgd_run, tmp_path / of / "run")
    assert rso("plot", "a/run", "b/run", "--out", "both.svg").status == 0
    text = (tmp_path / "both.svg").read_text()
    assert "a/run (sgd)" in text and "b/run (sgd)" in text


def test_overwrite_starts_again_and_leaves_the_users_own_files(points, rso, tmp_path):
    folder = tmp_path / "run"
    assert rso(*sgd_arguments(points, folder)).status == 0
    (folder / "notes.txt").write_text("mine")
    assert rso(*sgd_arguments(points, folder, "--overwrite", "--seed", "1")).status == 0
    assert json.loads((folder / "config.json").read_text())["settings"]["seed"] == 1
    assert len(metrics_of(folder)) == 3
    assert (folder / "notes.txt").read_text() == "mine"


def test_without_out_every_run_gets_a_folder_of_its_own(points, rso, tmp_path):
    arguments = sgd_arguments(points, "x")[:-2]
    for number in (1, 2):
        found = rso(*arguments)
        assert f"runs/points-mlp-sgd-{number}" in found.out
        assert (tmp_path / "runs" / f"points-mlp-sgd-{number}" / "params.npz").is_file()


def test_runs_started_together_share_no_folder(tmp_path):
    with ThreadPoolExecutor(8) as together:
        claimed = list(together.map(lambda _: claim_folder(tmp_path / "runs", "run"), range(40)))
    assert {folder.name for folder in claimed} == {f"run-{number}" for number in range(1, 41)}
    assert all(folder.is_dir() for folder in claimed)


def test_a_finished_run_resumed_is_left_as_it_is(sgd_run, rso):
    parameters, metrics = (sgd_run / "params.npz").read_bytes(), metrics_of(sgd_run)
    found = rso("train", "--resume", sgd_run)
    assert found.status == 0
    assert metrics_of(sgd_run) == metrics and (sgd_run / "params.npz").read_bytes() == parameters


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ((), ["train", "evaluate", "plot", "data"]),
        (("train",), ["--dataset", "--optimizer", "--max-minutes", "--resume", "mini-batch"]),
        (("explain",), ["--dataset", "--proposal", "--minibatches", "--why"]),
        (("evaluate",), ["--json", "--params", "--dataset"]),
        (("plot",), ["--out"]),
        (("data",), ["list", "import"]),
        (("data", "import"), ["train-images-idx3-ubyte.gz"]),
    ],
)
def test_help_names_what_there_is(command, said, rso):
    found = rso(*command, "--help")
    assert found.status == 0
    text = " ".join(found.out.split())
    for words in said:
        assert words in text
    assert "None|" not in text and "{None}" not in text


FLAGS = {
    "rso": {"preset", "proposal", "block", "temperature", "ties", "weight-decay", "memory-gib"},
    "slopes": {"preset", "learning-rate", "momentum", "weight-decay", "probes", "step", "average"},
    "sgd": {"preset", "learning-rate", "momentum", "weight-decay"},
    "adam": {"preset", "learning-rate", "weight-decay"},
    "open-es": {"preset", "learning-rate", "population", "sigma"},
    "pgpe": {"preset", "learning-rate", "population", "sigma"},
    "snes": {"preset", "learning-rate", "population", "sigma"},
    "spsa": {"preset", "learning-rate", "population", "sigma"},
}


@pytest.mark.parametrize("optimizer", FLAGS)
def test_help_shows_the_flags_of_the_method_and_no_others(optimizer, rso):
    shown = set(re.findall(r"--([a-z-]+)", rso("train", "--optimizer", optimizer, "--help").out))
    assert shown & set.union(*FLAGS.values()) == FLAGS[optimizer]


@pytest.mark.parametrize("optimizer", ["rso", "sgd"])
def test_the_help_of_a_method_names_all_others(optimizer, rso):
    text = " ".join(rso("train", "--optimizer", optimizer, "--help").out.split())
    *others, last = METHODS
    assert f"{', '.join(others)} or {last}" in text


@pytest.mark.parametrize(("columns", "most"), [("80", 74), ("100", 68)])
def test_the_help_of_the_search_is_short_and_begins_with_what_one_needs(columns, most, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    printed, _ = start("train", "--help").communicate()
    lines = printed.splitlines()
    assert len(lines) <= most
    flags = [found[1] for line in lines if (found := re.match(r"\W +--([a-z-]+)", line))]
    first = ("dataset", "model", "optimizer", "preset", "cycles", "batch-size", "seed")
    assert tuple(flags[:9]) == (*first, "out", "resume")
