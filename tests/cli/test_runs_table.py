"""``rso runs``: a line for each run folder, whatever state it is in."""

import json
import os
import shutil
import time

import pytest
from small_runs import content_of, metrics_of


def rows_of(rso, *folders):
    found = rso("runs", *folders, "--json")
    assert found.status == 0, found.err
    return {row["run"].rpartition("/")[2]: row for row in map(json.loads, found.out.splitlines())}


def age(run, seconds):
    """As if it had been written so long ago."""
    at = time.time() - seconds
    for path in run.iterdir():
        os.utime(path, (at, at))


@pytest.fixture
def runs(sgd_run, tmp_path):
    """Run folders in all states below runs/, the newest first by name."""
    for number, name in enumerate(("whole", "stopped", "new", "torn", "no-json", "no-config")):
        run = tmp_path / "runs" / name
        shutil.copytree(sgd_run, run)
        lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
        if name == "stopped":
            (run / "metrics.jsonl").write_text(lines[0])
        elif name == "new":
            (run / "metrics.jsonl").unlink()
        elif name == "torn":
            (run / "metrics.jsonl").write_text(lines[0] + lines[1][:40])
        elif name == "no-json":
            (run / "config.json").write_text('{"settings": ')
        elif name == "no-config":
            (run / "config.json").unlink()
        age(run, 1000 + number)
    age(tmp_path / "runs" / "new", 1)
    (tmp_path / "runs" / "not-a-run").mkdir()
    (tmp_path / "runs" / "notes.txt").write_text("mine")
    return tmp_path / "runs"


def test_states(runs, rso):
    before = content_of(runs)
    rows = rows_of(rso)
    assert {name: row["state"] for name, row in rows.items()} == {
        "no-config": "stopped",
        "no-json": "damaged",
        "torn": "damaged",
        "stopped": "stopped",
        "whole": "complete",
        "new": "running?",
    }
    assert list(rows) == ["no-config", "no-json", "torn", "stopped", "whole", "new"]
    assert rows["torn"]["cycle"] == 1 and rows["no-json"]["cycle"] == 3
    assert content_of(runs) == before


def test_numbers(runs, rso):
    row = rows_of(rso)["whole"]
    lines = metrics_of(runs / "whole")
    for name in ("test_accuracy", "seconds", "image_evaluations"):
        assert row[name] == lines[-1][name]
    assert row["best_test_accuracy"] == max(line["test_accuracy"] for line in lines)
    assert (row["model"], row["method"], row["cycles"]) == ("mlp", "sgd", 3)


def test_the_table(runs, rso):
    found = rso("runs")
    head, *lines = found.out.splitlines()
    heads = ["run", "data", "model", "method", "test", "best", "seconds", "evaluations", "state"]
    assert head.split() == heads
    of = {line.split()[0].rpartition("/")[2]: line for line in lines}
    assert of["stopped"].endswith("stopped in cycle 2 of 3")
    assert of["new"].endswith("running? in cycle 1 of 3")
    assert of["whole"].endswith("complete") and "points.npz" in of["whole"]
    last = metrics_of(runs / "whole")[-1]
    assert f"{last['test_accuracy']:.2%}" in of["whole"]


def test_folders_named(runs, rso):
    assert list(rows_of(rso, "runs/whole", "runs/new", "runs/whole")) == ["whole", "new"]
    assert "no runs in runs/not-a-run" in rso("runs", "runs/not-a-run").out
    missing = rso("runs", "nowhere")
    assert missing.status == 2 and "nowhere is not a folder" in missing.err


@pytest.mark.parametrize(
    ("config", "metrics"),
    [("[]", "[]"), ('{"settings": 3}', "3\n"), ('{"settings": {"cycles": "x"}}', '{"cycle": "x"}')],
)
def test_files_of_another_kind(config, metrics, rso, tmp_path):
    run = tmp_path / "runs" / "odd"
    run.mkdir(parents=True)
    (run / "config.json").write_text(config)
    (run / "metrics.jsonl").write_text(metrics)
    assert rows_of(rso)["odd"]["method"] is None
    assert rso("runs").status == 0
