"""The numbers of the documentation are those of the result files."""

import json
import os
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
