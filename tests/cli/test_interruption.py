"""A run stopped in any way goes on to the parameters of one that was not, bit for bit."""

import os
import shutil
import signal

import pytest
from small_runs import assert_same_run, content_of, metrics_of, start

SETTINGS = ("--hidden", "--cycles", "8", "--batch-size", "20")
# A shell starts what is in the background to ignore it.
HEEDS_CTRL_C = "import signal as s; s.signal(s.SIGINT, s.default_int_handler)\n"
# Nor may it leave halves of bytecode to other processes.
LIMIT = (
    "import resource as r, sys; sys.dont_write_bytecode = True\n"
    "r.setrlimit(r.RLIMIT_FSIZE, ({0}, {0}))\n"
)


@pytest.fixture(scope="module")
def uninterrupted(points, tmp_path_factory):
    from rso_jax.cli import main

    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert main(["train", "--dataset", str(points), *SETTINGS, "--out", str(folder)]) == 0
    return folder


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGINT, 128 + signal.SIGINT),
        (signal.SIGTERM, 128 + signal.SIGTERM),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
    ids=["ctrl-c", "sigterm", "kill -9"],
)
def test_a_stopped_process_is_resumed(number, status, points, uninterrupted, rso, tmp_path):
    folder = tmp_path / "run"
    process = start("train", "--dataset", points, *SETTINGS, "--out", folder)
    printed = []
    for line in process.stdout:
        printed.append(line)
        if line.startswith("cycle 2/8"):
            process.send_signal(number)
            break
    rest, errors = process.communicate()
    assert process.returncode == status
    assert "Traceback" not in errors
    assert 2 <= len(metrics_of(folder)) < 8
    assert any((folder / "checkpoints").iterdir())
    if number != signal.SIGKILL:
        assert f"stopped by {number.name}" in rest
        assert f"rso train --resume {folder}" in rest
    assert "\033" not in "".join(printed) + rest

    resumed = rso("train", "--resume", folder)
    assert resumed.status == 0
    assert "cycle 8/8" in resumed.out and "cycle 1/8" not in resumed.out
    assert_same_run(folder, uninterrupted)


def test_what_cannot_be_saved_is_interrupted_in_one_line(sgd_run, tmp_path):
    """While it waits for its parameters, which a pipe never delivers."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = start("evaluate", sgd_run, "--params", pipe, before=HEEDS_CTRL_C)
    with pipe.open("wb"):  # as soon as it reads
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate()
    assert (process.returncode, out, errors) == (128 + signal.SIGINT, "", "rso: interrupted\n")


def test_a_time_limit_stops_by_itself(points, uninterrupted, rso, tmp_path):
    folder = tmp_path / "run"
    limit = ("--max-minutes", "0.0001")
    found = rso("train", "--dataset", points, *SETTINGS, "--out", folder, *limit)
    assert found.status == 0
    assert "stopped after 0.0001 min in cycle 1 of 8" in found.out
    assert rso("train", "--resume", folder, *limit).status == 0
    assert rso("train", "--resume", folder).status == 0
    assert_same_run(folder, uninterrupted)


@pytest.mark.parametrize("damage", ["truncated", "changed", "incomplete"])
def test_a_damaged_checkpoint_is_named_and_passed_over(damage, uninterrupted, rso, tmp_path):
    folder = shutil.copytree(uninterrupted, tmp_path / "run")
    newest = sorted((folder / "checkpoints").iterdir())[-1]
    largest = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = largest.read_bytes()
    if damage == "truncated":
        largest.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        largest.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        (newest / "manifest.json").unlink()
    found = rso("train", "--resume", folder)
    assert found.status == 0
    assert f"checkpoint {newest} is damaged" in found.out
    assert_same_run(folder, uninterrupted)


def test_with_every_checkpoint_damaged_it_starts_again(uninterrupted, rso, tmp_path):
    folder = shutil.copytree(uninterrupted, tmp_path / "run")
    for checkpoint in (folder / "checkpoints").iterdir():
        (checkpoint / "progress.json").write_text("{}")
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:-1]))  # it was not complete
    found = rso("train", "--resume", folder)
    assert found.status == 0
    assert found.out.count("is damaged") == 3 and "starting from the beginning" in found.out
    assert_same_run(folder, uninterrupted)


def test_a_complete_run_whose_checkpoints_are_gone_is_left_alone(uninterrupted, rso, tmp_path):
    folder = shutil.copytree(uninterrupted, tmp_path / "run")
    shutil.rmtree(folder / "checkpoints")
    kept = content_of(folder)
    found = rso("train", "--resume", folder)
    assert found.status == 2 and "is complete, and without checkpoints" in found.err
    assert content_of(folder) == kept


@pytest.mark.parametrize("file_bytes", [500, 2_500, 30_000])
def test_no_space_left(file_bytes, points, uninterrupted, rso, tmp_path):
    """A limit on the size of files, as a full disk: on config, checkpoint and picture."""
    folder = tmp_path / "run"
    arguments = ("train", "--dataset", points, *SETTINGS, "--out", folder)
    process = start(*arguments, before=LIMIT.format(file_bytes))
    _, errors = process.communicate()
    assert process.returncode == 2, errors
    assert errors.startswith(f"rso: error: no space left while writing {folder}")
    assert errors.count("\n") == 1
    found = rso("train", "--resume", folder)
    if found.status:  # not even the settings were written: start again in the same folder
        assert file_bytes == 500
        assert rso(*arguments).status == 0
    assert_same_run(folder, uninterrupted)
