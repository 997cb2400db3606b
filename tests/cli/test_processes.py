"""A run in several processes: one run folder, and an end with a message whatever happens."""

import json
import signal
import socket

import pytest
from small_runs import metrics_of, run_in_turn, start

SEARCH = ("--hidden", "--cycles", "25", "--batch-size", "20")
SETTINGS = (*SEARCH, "--optimizer", "sgd")


@pytest.fixture
def where():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def started():
    """Start a process of a run; none outlives the test."""
    running = []

    def run(*arguments, **options):
        running.append(start("train", *arguments, **options))
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def joining(where, process):
    return ("--coordinator", where, "--processes", 2, "--process", process)


def until(process, text):
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(process.stderr.read())


def last_error(process):
    _, errors = process.communicate()
    return [line for line in errors.splitlines() if line.startswith("rso: error: ")][-1]


def test_a_lost_process_ends_the_others_and_fewer_go_on(where, points, rso, started, tmp_path):
    folder = tmp_path / "run"
    settings = ("--dataset", points, *SETTINGS, "--out", folder)
    first, second = (started(*settings, *joining(where, i)) for i in range(2))
    until(first, "cycle 2/25")
    second.kill()
    error = last_error(first)
    assert first.returncode == 3
    assert "another process of this run is lost" in error
    assert f"rso train --resume {folder}" in error
    before = len(metrics_of(folder))
    resumed = rso("train", "--resume", folder)
    assert resumed.status == 0
    assert "cycle 25/25" in resumed.out and "cycle 1/25" not in resumed.out
    assert len(metrics_of(folder)) == 25 > before


def test_a_signal_to_any_process_stops_and_saves_all(where, points, rso, started, tmp_path):
    """The run folder is on the disk of the first; more go on than were."""
    folder = tmp_path / "run"
    briefly = ("--memory-gib", 2, "--max-minutes", 1e-6)
    assert rso("train", "--dataset", points, *SEARCH, "--out", folder, *briefly).status == 0
    elsewhere = tmp_path / "elsewhere"
    first = started("--resume", folder, *joining(where, 0))
    second = started("--resume", elsewhere, *joining(where, 1))
    until(first, "cycle 2/25")
    second.send_signal(signal.SIGTERM)
    printed, _ = first.communicate()
    silent, errors = second.communicate()
    assert (first.returncode, second.returncode) == (0, 128 + signal.SIGTERM)
    assert "stopped by another process" in printed and f"--resume {folder}" in printed
    assert not [line for line in silent.splitlines() if not line.startswith("[Gloo]")]
    assert "rso" not in errors and not elsewhere.exists()
    assert metrics_of(folder)


def test_processes_started_differently(where, points, started, tmp_path):
    settings = ("--dataset", points, *SETTINGS, "--out", tmp_path / "run")
    first = started(*settings, *joining(where, 0))
    second = started(*settings, *joining(where, 1), "--seed", 1)
    assert "differ in: seed; start all alike" in last_error(second)
    assert "the processes were started differently" in last_error(first)
    assert (first.returncode, second.returncode) == (2, 2)
    assert not (tmp_path / "run").exists()


def test_one_machine_goes_on_with_the_devices_it_is_told(points, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "4")
    train = ("train", "--dataset", points)
    to_nowhere = ("--out", tmp_path / "no")
    later = ("--cycles", 2, "--block", "leaf", 1, "--joint-step", "accepted")  # in cycle 2
    begun, resumed, uneven, wide = run_in_turn(
        (*train, *SETTINGS, "--out", folder, "--max-minutes", 1e-6),
        ("train", "--resume", folder, "--mesh", "data=2,candidate=2"),
        (*train, *SETTINGS, "--mesh", "data=3", *to_nowhere),
        (*train, "--hidden", "--mesh", "data=1,candidate=4", *later, *to_nowhere),
    )
    assert begun.status == 0, begun.err
    assert "4 devices (cpu): data=4" in begun.out
    assert resumed.status == 0, resumed.err
    assert "4 devices (cpu): data=2, candidate=2" in resumed.out
    assert "started with data=4,candidate=1, not data=2,candidate=2: what it" in resumed.out
    assert len(metrics_of(folder)) == 25
    assert json.loads((folder / "config.json").read_text())["hardware"]["mesh"] == {
        "data": 4,
        "candidate": 1,
    }
    assert uneven.status == 2
    assert "cannot be divided among data=3 devices; use 18 or 21 examples" in uneven.err
    assert wide.status == 2
    assert "candidates are scored at once; use candidate=" in wide.err
    assert not (tmp_path / "no").exists()


def test_a_process_that_fails_in_any_way_ends_the_others(where, points, started, tmp_path):
    fails = "import signal as s; s.signal(s.SIGUSR1, lambda *_: 1 / 0)\n"
    settings = ("--dataset", points, *SETTINGS, "--out", tmp_path / "run")
    first, second = (started(*settings, *joining(where, i), before=fails) for i in range(2))
    until(first, "cycle 1/25")
    first.send_signal(signal.SIGUSR1)
    assert "ZeroDivisionError" in first.stderr.read()
    assert first.wait() == 1
    assert "another process of this run is lost" in last_error(second)
    assert second.returncode == 3


def test_processes_go_on_when_nobody_reads(where, points, started, tmp_path):
    settings = ("--dataset", points, *SETTINGS, "--out", tmp_path / "run")
    first, second = (started(*settings, *joining(where, i)) for i in range(2))
    until(first, "cycle 1/25")
    first.stdout.close()
    assert first.stderr.read() == ""
    assert (first.wait(), second.wait()) == (0, 0)
    assert len(metrics_of(tmp_path / "run")) == 25


def test_nobody_else_comes(where, points, started):
    hurry = "import rso_jax.cli.joining as p; p.JOIN_SECONDS = 1\n"
    process = started("--dataset", points, *SETTINGS, *joining(where, 1), before=hurry)
    assert f"not all 2 processes met at {where}" in last_error(process)
    assert process.returncode == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--coordinator", "here"), "--coordinator is here; it must be HOST:PORT or auto"),
        (("--coordinator", "here:99999"), "it must be HOST:PORT or auto"),
        (("--coordinator", "here:1"), "--coordinator needs --processes and --process"),
        (("--processes", "2"), "--processes is 2: it needs --coordinator"),
        (
            ("--coordinator", "here:1", "--processes", "2", "--process", "2"),
            "--process is 2 of --processes 2",
        ),
        (("--coordinator", "auto", "--process", "0"), "--process is 0: it needs no auto"),
    ],
)
def test_flags_that_join_nothing(flags, message, points, rso):
    found = rso("train", "--dataset", points, *SETTINGS, *flags)
    assert found.status == 2
    assert message in found.err and found.err.count("\n") == 1


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        ("4", "--mesh is 4; write data=N, candidate=N or both"),
        ("rows=4", "--mesh is rows=4; write"),
        ("data=0", "--mesh is data=0; write"),
        ("data=2,data=2", "write data=N"),
        ("data=2", "mesh data=2,candidate=1 needs 2 devices; there is 1"),
    ],
)
def test_meshes_that_cannot_be(mesh, message, points, rso):
    found = rso("train", "--dataset", points, *SETTINGS, "--mesh", mesh)
    assert found.status == 2
    assert message in found.err and found.err.count("\n") == 1
