"""``--log tensorboard``: event files in the run folder, which go on with the run."""

import sys

import pytest
from small_runs import metrics_of, sgd_arguments

BRIEFLY = ("--max-minutes", "1e-6")
LOG = ("--log", "tensorboard")


@pytest.fixture
def scalars_of():
    pytest.importorskip("tensorboardX")
    from event_files import scalars_of

    return scalars_of


def assert_logged(scalars_of, run):
    found = scalars_of(run / "tensorboard")["test_accuracy"]
    lines = {line["cycle"]: line["test_accuracy"] for line in metrics_of(run)}
    assert found == {cycle: pytest.approx(value) for cycle, value in lines.items()}


def test_a_run_is_logged_and_goes_on_being_so(points, rso, scalars_of, tmp_path):
    run = tmp_path / "run"
    assert rso(*sgd_arguments(points, run, *LOG, *BRIEFLY)).status == 0
    assert rso("train", "--resume", run).status == 0
    assert len(metrics_of(run)) == 3
    assert_logged(scalars_of, run)
    # Begun again without, it is no more.
    assert rso(*sgd_arguments(points, run, "--overwrite")).status == 0
    assert not (run / "tensorboard").exists()
    # A run that is complete, logged afterwards.
    assert rso("train", "--resume", run, *LOG).status == 0
    assert_logged(scalars_of, run)


def test_what_cannot_be_logged_is_refused_before_any_work(points, rso, tmp_path, monkeypatch):
    run = tmp_path / "run"
    wrong = rso(*sgd_arguments(points, run, "--log", "tensorbord"))
    assert wrong.status == 2 and "did you mean 'tensorboard'" in wrong.err
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    missing = rso(*sgd_arguments(points, run, *LOG))
    assert missing.status == 2 and len(missing.err.splitlines()) == 1
    assert "rso_jax[tensorboard], or pass --log none" in missing.err
    assert not run.exists()
