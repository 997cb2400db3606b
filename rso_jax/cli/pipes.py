"""Output that nobody reads any more, as behind ``| head``: commands end quietly, runs go on."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

CLOSED = 128 + signal.SIGPIPE
"""Exit status of a command whose output was closed before it was written."""


def end_quietly(command: Callable[[], int]) -> int:
    """Run a command whose output may be closed; its exit status, or that of a closed pipe."""
    try:
        try:
            return command()
        finally:  # after help, too, which ends in SystemExit
            for stream in _streams():
                stream.flush()
    except BrokenPipeError:
        for stream in _streams():
            _silence(stream)
        return CLOSED


@contextlib.contextmanager
def go_on_unread() -> Iterator[None]:
    """Let the body go on when its output is closed; what it prints from then on is lost."""
    out, err = (None if stream is None else _Unread(stream) for stream in (sys.stdout, sys.stderr))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield


class _Unread:
    """A stream that is silent once it is closed at the other end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or drop the text."""
        with _silencing(self._stream):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or drop what is left."""
        with _silencing(self._stream):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _silencing(stream: TextIO) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        _silence(stream)


def _silence(stream: TextIO) -> None:
    """Point a stream at nothing, so that what it still holds can be written."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)


def _streams() -> list[TextIO]:
    return [stream for stream in (sys.stdout, sys.stderr) if stream is not None]
