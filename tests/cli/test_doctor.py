"""``rso doctor`` and ``rso --version``: what a machine has, and what to do."""

from importlib.metadata import version

import pytest
from small_runs import start

import rso_jax
from rso_jax.cli.doctor import GIB, judge_disk, judge_memory


def lines_of(found):
    """Verdict and text by what is checked."""
    return {line[6:25].strip(): (line[:4].strip(), line[25:]) for line in found.out.splitlines()}


def test_a_machine_that_trains(rso):
    found = rso("doctor")
    lines = lines_of(found)
    assert found.status == 0, found.out
    assert lines["devices"][0] in ("ok", "note") and "cpu" in lines["devices"][1]
    assert lines["mnist"][0] == "note" and "rso data import mnist" in lines["mnist"][1]
    assert {"memory", "runs", "decoded images", "compiled programs", "extras"} <= lines.keys()


def test_a_folder_that_cannot_be_written_stops_training(rso, tmp_path):
    (tmp_path / "file").write_text("mine")
    found = rso("doctor", "--out", "file/runs")
    assert found.status == 1
    assert lines_of(found)["runs"] == (
        "stop",
        "file/runs cannot be written (Not a directory): pass another --out, or work in another "
        "folder",
    )


def test_a_cache_that_cannot_be_written_does_not(rso, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("RSO_CACHE_DIR", "file")
    found = rso("doctor")
    verdict, said = lines_of(found)["decoded images"]
    assert found.status == 0 and verdict == "note" and "set RSO_CACHE_DIR" in said


def test_devices_that_are_not_there_stop_training(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "nonsense")
    process = start("doctor")
    out, errors = process.communicate()
    assert process.returncode == 1 and errors == ""
    (line,) = [line for line in out.splitlines() if line.startswith("stop")]
    assert "nonsense" in line and "set JAX_PLATFORMS=cpu" in line


def test_nothing_is_left_behind(rso, tmp_path):
    rso("doctor")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("free", "verdict", "said"),
    [
        (None, "ok", "does not say"),
        (20 * GIB, "ok", "20 GiB free of this"),
        (3 * GIB, "note", "pass --memory-gib 2"),
        (GIB // 10, "stop", "use another machine"),
    ],
)
def test_memory(free, verdict, said):
    found = judge_memory(free, "this machine")
    assert found.verdict == verdict and said in found.said


@pytest.mark.parametrize(
    ("free", "verdicts"),
    [(9 * GIB, ("ok", "ok")), (GIB, ("note", "note")), (GIB // 100, ("stop", "note"))],
)
def test_disks(free, verdicts, tmp_path):
    found = [judge_disk("runs", tmp_path, free, bad).verdict for bad in ("stop", "note")]
    assert tuple(found) == verdicts


def test_the_version(rso, tmp_path):
    found = rso("--version")
    assert found.status == 0 and found.out.startswith(f"rso_jax {rso_jax.__version__}\n")
    for said in (version("jax"), version("jaxlib"), "1 x cpu", str(tmp_path / "cache")):
        assert said in found.out
    assert "--version" in rso("--help").out
