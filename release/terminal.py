"""A shell at a terminal, typed into as a person does: completion answers to nothing less."""

import os
import pty
import select
import time
from collections.abc import Mapping
from pathlib import Path

PROMPT = "type here> "
PATIENCE = 120
"""Seconds until a shell that does not ask for the next line is given up."""


def type_into(
    shell: list[str], lines: list[str], folder: Path, environment: Mapping[str, str]
) -> tuple[str, bool]:
    """Type each line when the shell asks for it.

    Args:
        shell: program and arguments of an interactive shell; bash and zsh are known to work.
        lines: without ends of lines; the last should leave the shell. A tab asks for completion.
        folder: in which it starts.
        environment: of the shell.

    Returns:
        What the terminal showed, and whether the shell ended.
    """
    process, terminal = pty.fork()
    if process == 0:
        try:
            os.chdir(folder)
            os.execvpe(shell[0], shell, {**environment, "PS1": PROMPT, "TERM": "dumb"})
        finally:
            os._exit(127)
    shown = ""
    for line in lines:
        new, asks = read_until(terminal, PROMPT)
        shown += new
        if not asks:
            break
        os.write(terminal, f"{line}\n".encode())
    shown += read_until(terminal, None)[0]
    # It hangs up, which ends a shell that still waits.
    os.close(terminal)
    return shown, os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) >= 0


def read_until(terminal: int, end: str | None) -> tuple[str, bool]:
    """What a terminal shows up to a text, or up to its end with None; and whether that came."""
    shown, patience = b"", time.monotonic() + PATIENCE
    while end is None or end.encode() not in shown:
        if not select.select([terminal], [], [], max(0, patience - time.monotonic()))[0]:
            return shown.decode(errors="replace"), False
        try:
            new = os.read(terminal, 4096)
        except OSError:  # the other side is closed
            new = b""
        if not new:
            return shown.decode(errors="replace"), end is None
        shown += new
    return shown.decode(errors="replace"), True
