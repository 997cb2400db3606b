"""The numbers of the documentation are those of the result files."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rso_jax.cli import main

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("RSO_TEST_TFDS") or ROOT.parent / "shared/tfds")
RUNS = sorted((ROOT / "experiments" / "results").glob("*/*-seed*"))


def test_the_documents_are_up_to_date():
    check = [sys.executable, str(ROOT / "experiments" / "report.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_figure_in_prose_needs_a_result_file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    prose = importlib.import_module("report_prose")
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


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.parent.name}-{run.name}")
def test_published_weights_score_what_was_published(run, capsys):
    """To the last digit printed: another CPU may round a logit differently, not more."""
    published = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    dataset = run.parent.name
    if dataset != "digits" and not (DATA / dataset).is_dir():
        pytest.skip(f"no {dataset} in {DATA}")
    where = [] if dataset == "digits" else ["--data-dir", str(DATA)]
    assert main(["evaluate", str(run), "--json", *where]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert scored["test_accuracy"] == pytest.approx(published["test_accuracy"], abs=1e-9)
    assert scored["test_loss"] == pytest.approx(published["test_loss"], rel=1e-3)
