"""Output that nobody reads any more: commands end quietly, and a run goes on."""

import json
import subprocess
import sys

import pytest
from small_runs import PROGRAM, metrics_of, sgd_arguments, start

QUIET = {0, 141}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("data", "list"),
        ("evaluate", "RUN", "--json"),
        ("plot", "RUN"),
        ("plot", "--cycle"),
    ],
    ids=" ".join,
)
def test_a_command_ends_quietly(arguments, sgd_run, tmp_path):
    arguments = [sgd_run if argument == "RUN" else argument for argument in arguments]
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()\n" + PROGRAM, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    process.stdin.close()
    errors = process.stderr.read()
    process.stderr.close()
    if arguments[-1] == "--cycle":
        assert process.wait() == 2 and "--cycle" in errors
    else:
        assert (process.wait() in QUIET, errors) == (True, ""), process.returncode
    if arguments[0] == "plot" and arguments[-1] != "--cycle":
        assert (tmp_path / "comparison.png").is_file()


@pytest.mark.parametrize("closed", [("stdout",), ("stdout", "stderr")], ids="+".join)
def test_a_run_goes_on(closed, points, tmp_path):
    process = start(*sgd_arguments(points, tmp_path / "run"))
    assert "run folder" in process.stdout.readline() + process.stdout.readline()
    for name in closed:
        getattr(process, name).close()
    if "stderr" not in closed:
        assert process.stderr.read() == ""
        process.stderr.close()
    assert process.wait() == 0
    assert len(metrics_of(tmp_path / "run")) == 3
    assert (tmp_path / "run" / "curve.png").is_file()
    assert json.loads((tmp_path / "run" / "config.json").read_text())
