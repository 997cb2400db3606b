"""On a terminal a bar and colour; in a pipe plain lines."""

import os
import pty
import sys
import termios
from concurrent.futures import ThreadPoolExecutor

import pytest
from small_runs import sgd_arguments

from rso_jax.cli import main


def read_all(end):
    """What is written to the other end until it is closed."""
    printed = b""
    try:
        while part := os.read(end, 65536):
            printed += part
    except OSError:  # a pseudo-terminal reports its end as an error
        pass
    return printed.decode()


def printed_to(ends, arguments, names=("stdout", "stderr")):
    """What a command prints to a pair of descriptors."""
    ours, theirs = ends
    with ThreadPoolExecutor(1) as reader, pytest.MonkeyPatch.context() as streams:
        printed = reader.submit(read_all, ours)
        with os.fdopen(theirs, "w") as stream:
            for name in names:
                streams.setattr(sys, name, stream)
            status = main(arguments)
        assert status == 0, printed.result()
    os.close(ours)
    return printed.result()


@pytest.fixture
def terminal(monkeypatch):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 160))
    monkeypatch.setenv("TERM", "xterm")
    return ours, theirs


def test_a_terminal_gets_a_bar_with_all_a_user_asks_for(terminal, points, tmp_path):
    settings = ["--dataset", str(points), "--hidden", "--cycles", "2"]
    printed = printed_to(terminal, ["train", *settings, "--out", str(tmp_path / "r")])
    assert "\033[" in printed
    frames = [f for f in printed.split("\r") if "cycle 2/2" in f and "%|" in f]
    assert frames
    for words in ("output/kernel", "loss ", "accepted ", "test ", " examples/s", " left"):
        assert any(words in frame for frame in frames), words


def test_no_color_is_respected(terminal, points, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    printed = printed_to(terminal, sgd_arguments(points, tmp_path / "r"))
    assert "%|" in printed and "\033[3" not in printed and "\033[1m" not in printed


def test_a_pipe_gets_plain_lines(points, tmp_path, capfd):
    printed = printed_to(os.pipe(), sgd_arguments(points, tmp_path / "r"), ["stdout"])
    assert sum(line.startswith("cycle ") for line in printed.splitlines()) == 3
    assert "\033" not in printed and "\r" not in printed
    assert capfd.readouterr() == ("", "")
