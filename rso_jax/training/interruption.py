"""Interruption: Ctrl-C, SIGTERM and a time limit ask the loop to stop; it saves and returns."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Why the run should stop, if it should. A mutable flag, because signals arrive any time.

    ::

        stop = StopRequest(max_minutes=30)
        train(method, task, cycles=5, stop=stop)    # and from a reporter or a thread: stop.ask()
    """

    def __init__(self, max_minutes: float | None = None) -> None:
        """A request that nobody makes yet, but the clock after so many minutes from now."""
        self.signal: signal.Signals | None = None
        self._asked: str | None = None
        self._deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        self.max_minutes = max_minutes

    def ask(self, reason: str = "stopped on request") -> None:
        """Ask the run to stop, save itself and return; ``Outcome.stopped`` is the reason."""
        self._asked = reason

    def reason(self) -> str | None:
        """A short reason to stop, or None to go on."""
        if self.signal is not None:
            return f"stopped by {self.signal.name}"
        if self._asked is not None:
            return self._asked
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return f"stopped after {self.max_minutes:g} min"
        return None


@contextmanager
def stop_on_signals(max_minutes: float | None = None) -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request, and say so; a second one acts as always."""
    request = StopRequest(max_minutes)
    previous: dict[signal.Signals, object] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        request.signal = signal.Signals(number)
        restore()
        # Not by print: the signal may have come in the middle of one.
        os.write(2, f"\n{request.signal.name}: stopping soon; again to stop at once\n".encode())

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, ask)
    except ValueError:
        previous.clear()  # signals belong to the main thread; elsewhere only the limit applies
    try:
        yield request
    finally:
        restore()
