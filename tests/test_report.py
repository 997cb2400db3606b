"""The numbers of the documentation are those of the result files."""

import importlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from rso_jax.cli import main

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("RSO_TEST_TFDS") or ROOT.parent / "shared/tfds")
RUNS = [
    folder
    for folder in sorted((ROOT / "experiments" / "results").glob("*/*-seed*/"))
    # Not of a text, which `rso evaluate` does not know; of what takes seconds one seed.
    if folder.parent.name != "characters"
    and (folder.parent.name == "digits" or folder.name.endswith("seed0"))
]


@pytest.fixture(scope="module")
def report():
    """The package, as the command finds it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "experiments")
        yield importlib.import_module("report.documents")


def test_the_documents_are_up_to_date(report, capsys):
    assert report.main(check=True) == 0, capsys.readouterr().err


def test_a_document_or_picture_that_is_out_of_date_is_named(report, tmp_path):
    texts, pictures = report.documents(), report.figures()
    changed, drawn = report.TOP / "README.md", report.PICTURES / "mnist_accepted.png"
    other = tmp_path / "mnist_accepted.png"
    shutil.copy(report.PICTURES / "fashion_mnist_accepted.png", other)
    texts = {changed: texts[changed] + "more"}
    assert report.outdated(texts, {drawn: pictures[drawn], other: pictures[drawn]}) == [
        changed,
        other,
    ]


def test_a_figure_in_prose_needs_a_result_file(report, tmp_path):
    prose = importlib.import_module("report.prose")
    for name in prose.QUOTES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    assert prose.unfounded(tmp_path) == []
    readme, search = tmp_path / "README.md", tmp_path / "docs" / "search.md"
    readme.write_text(readme.read_text().replace("SGD 187,500", "SGD 187,501"))
    search.write_text(search.read_text() + "\nRacing is\n12.5 times faster.\n")
    assert prose.unfounded(tmp_path) == [
        'README.md should say "(10 on MNIST, SGD 187,500)"',
        'docs/search.md: no result file is behind "12.5 times"',
    ]


@pytest.mark.usefixtures("report")
def test_a_budget_counts_what_was_scored_within_it_by_every_seed():
    leaderboard = importlib.import_module("report.leaderboard")
    sources = importlib.import_module("report.sources")

    def run(*lines):
        named = ("image_evaluations", "seconds", "test_accuracy")
        return sources.Run({}, [dict(zip(named, line, strict=True)) for line in lines], ROOT)

    runs = [run((10, 1.0, 0.5), (20, 2.0, 0.75)), run((10, 1.5, 0.25), (20, 4.0, 0.5))]
    within = leaderboard.accuracy_within
    assert within(runs, "image_evaluations", 9) is None
    assert within(runs, "image_evaluations", 19) == 37.5
    assert within(runs, "image_evaluations", 100) == 62.5
    assert within(runs, "seconds", 1) is None
    assert within(runs, "seconds", 2) == 50.0


@pytest.mark.usefixtures("report")
def test_a_row_says_what_is_scored_of_a_network_with_heads(monkeypatch):
    tables = importlib.import_module("report.tables")
    sources = importlib.import_module("report.sources")
    hardware = {"cpu_cores": 2, "platform": "cpu"}
    line = {
        **{"cycle": 20, "test_accuracy": 0.5, "updates_per_weight": 1000},
        **{"image_evaluations": 2_000_000, "seconds": 10.0},
    }
    settings = {"optimizer": "slopes", "cycles": 20, "batch_size": 128, "batches_per_cycle": 50}
    scored = {"heads": 4, "readout": "heads", "first_head": 2}
    runs = {
        name: [sources.Run({"settings": settings | more, "hardware": hardware}, [line], ROOT)]
        for name, more in (("local", scored), ("slopes", {}))
    }
    monkeypatch.setattr(tables, "read_runs", lambda experiment: runs)
    with_heads, without = tables.runs_table("mnist").splitlines()[2:]
    assert with_heads.startswith(
        "| slopes, local losses, 20 cycles, batch 128, scored: log-probabilities of the heads from "
        "2 on, added | **50.00 %**"
    )
    assert without.startswith("| slopes, 20 cycles, batch 128 | **50.00 %**")
    assert len(tables.runs_table("mnist", ("slopes",)).splitlines()) == 3


@pytest.mark.usefixtures("report")
def test_every_run_that_a_script_names_has_a_label_a_style_and_a_place():
    figures = importlib.import_module("report.figures")
    leaderboard = importlib.import_module("report.leaderboard")
    names = importlib.import_module("report.names")
    read_runs = importlib.import_module("report.sources").read_runs
    runs = {name for experiment in names.TITLES for name in read_runs(experiment)}
    assert runs <= names.LABELS.keys() and runs <= figures.STYLES.keys()
    shown = {name + task.ending for task in leaderboard.TASKS for name in task.runs()}
    assert shown == runs


@pytest.mark.usefixtures("report")
def test_a_run_appears_once_its_folder_does_and_those_not_run_stay_empty(monkeypatch):
    leaderboard = importlib.import_module("report.leaderboard")
    sources = importlib.import_module("report.sources")
    line = {"cycle": 6, "test_accuracy": 0.5, "image_evaluations": 2_000_000, "seconds": 5.0}
    config = {
        "settings": {"optimizer": "slopes", "cycles": 6, "batches_per_cycle": 24},
        "hardware": {"cpu_cores": 1, "platform": "cpu"},
    }
    runs = {name: [] for name in sources.read_runs("evojax")}
    runs["slopes-quarter"] = [sources.Run(config, [line], ROOT)]
    monkeypatch.setattr(leaderboard, "read_runs", lambda experiment: runs)
    monkeypatch.setattr(leaderboard, "TASKS", (leaderboard.Task("evojax"),))
    *_, overview = leaderboard.overview_table().splitlines()
    assert overview.endswith("| **50.00** (`slopes-quarter`) | | | | | | | |")
    table = leaderboard.task_tables()
    assert "\n| slopes, a quarter of the evaluations, 6 cycles | –" in table
    assert "\n| PGPE | | | | | | | | | | | |" in table


@pytest.mark.usefixtures("report")
def test_characters_are_reported_by_their_loss(monkeypatch, tmp_path):
    characters = importlib.import_module("report.characters")
    sources = importlib.import_module("report.sources")
    np.savez(tmp_path / "params.npz", a=np.zeros((30, 40)), b=np.zeros(34))
    config = {
        "settings": {"batches_per_cycle": 50, "batch_size": 16, "length": 32},
        "hardware": {"cpu_cores": 1, "platform": "cpu"},
    }
    costs = {"image_evaluations": 2400, "seconds": 13.85}
    runs = [
        sources.Run(
            config, [{"cycle": 8, "test_loss": loss, "test_accuracy": 0.25} | costs], tmp_path
        )
        for loss in (2.5, 2.25)
    ]
    monkeypatch.setattr(characters, "read_runs", lambda experiment: {"slopes": runs, "adam": []})
    title, _, slopes, adam = characters.characters_table().splitlines()
    assert title.startswith("| A transformer on characters, 1,234 weights | test loss, nats |")
    assert slopes == (
        "| slopes, 8 cycles | 2.3750 | 25.00 % | 204,800 | 2,400 | 13.8 | 1 CPU core |"
    )
    assert adam == "| Adam | | | | | | |"
    (panel,) = characters.characters_figure().axes
    (line,) = panel.get_lines()
    assert line.get_label() == "slopes, 2.38" and line.get_xydata().tolist() == [[204.8, 2.375]]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.parent.name}-{run.name}")
def test_published_weights_score_what_was_published(run, capsys):
    """To the last digit printed: another CPU may round a logit differently, not more."""
    published = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    dataset = json.loads((run / "config.json").read_text())["settings"]["dataset"]
    if dataset != "digits" and not (DATA / dataset).is_dir():
        pytest.skip(f"no {dataset} in {DATA}")
    where = [] if dataset == "digits" else ["--data-dir", str(DATA)]
    assert main(["evaluate", str(run), "--json", *where]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert scored["test_accuracy"] == pytest.approx(published["test_accuracy"], abs=1e-9)
    assert scored["test_loss"] == pytest.approx(published["test_loss"], rel=1e-3)
