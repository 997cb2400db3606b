"""On a terminal a bar and colour; in a pipe plain lines."""

import os
import pty
import subprocess
import sys
import termios

from small_runs import sgd_arguments

PROGRAM = (sys.executable, "-c", "import sys; from rso_jax.cli import main; sys.exit(main())")


def printed_on_a_terminal(*arguments, **environment):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 160))
    process = subprocess.Popen(
        [*PROGRAM, *arguments],
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm"} | environment,
    )
    os.close(theirs)
    printed = b""
    try:
        while part := os.read(ours, 65536):
            printed += part
    except OSError:  # a pseudo-terminal reports its end as an error
        pass
    os.close(ours)
    assert process.wait() == 0
    return printed.decode()


def test_a_terminal_gets_a_bar_with_all_a_user_asks_for(points, tmp_path):
    printed = printed_on_a_terminal(
        "train", "--dataset", str(points), "--hidden", "--cycles", "2", "--out", str(tmp_path / "r")
    )
    assert "\033[" in printed
    frames = [f for f in printed.split("\r") if "cycle 2/2" in f and "%|" in f]
    assert frames
    for words in ("output/kernel", "loss ", "accepted ", "test ", " examples/s", " left"):
        assert any(words in frame for frame in frames), words


def test_no_color_is_respected(points, tmp_path):
    arguments = sgd_arguments(points, tmp_path / "r")
    printed = printed_on_a_terminal(*arguments, NO_COLOR="1")
    assert "\033[3" not in printed and "\033[1m" not in printed


def test_a_pipe_gets_plain_lines(points, tmp_path):
    found = subprocess.run(
        [*PROGRAM, *sgd_arguments(points, tmp_path / "r")], capture_output=True, text=True
    )
    assert found.returncode == 0 and found.stderr == ""
    lines = found.stdout.splitlines()
    assert sum(line.startswith("cycle ") for line in lines) == 3
    assert "\033" not in found.stdout and "\r" not in found.stdout
