"""Calls that may take too long: the wait for one ends at a limit.

In a thread the call itself goes on, for Python cannot stop it; a process is killed.
"""

import pickle
import queue
import threading
from collections.abc import Callable
from runpy import run_path
from typing import Any

from rso_jax.black_boxes import answering
from rso_jax.errors import UserError

Worker = Callable[[tuple[Any, ...]], Any]
"""``(arguments)``: what a function returns; raises what it raises, or ``TimedOut``."""

START_SECONDS = 120.0
"""The longest that a process may take before it answers at all."""


class TimedOut(Exception):
    """A call did not return within its limit."""


class ProcessEnded(Exception):
    """The process in which a call was made is gone."""


class RaisedThere(Exception):
    """What a function raised in a process, in words."""


def in_a_line(error: Exception) -> str:
    """What was raised, in one line."""
    first = str(error).strip().splitlines()[:1] or ["no message"]
    in_words = isinstance(error, TimedOut | ProcessEnded | RaisedThere)
    return first[0] if in_words else f"{type(error).__name__}: {first[0]}"


def in_thread(function: Callable[..., Any], limit: float) -> Worker:
    """Calls of a function in a thread, which is left to itself when one takes too long.

    Args:
        function: of any kind.
        limit: seconds for a call.
    """
    idle: list[_Thread] = []

    def call(arguments: tuple[Any, ...]) -> Any:
        thread = idle.pop() if idle else _Thread(function)
        found, error = thread.call(arguments, limit)
        idle.append(thread)
        if error is not None:
            raise error
        return found

    return call


class _Thread:
    """A thread that answers one call after the other."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        queues = self._asked, self._answers
        threading.Thread(target=_answer, args=(function, *queues), daemon=True).start()

    def call(self, arguments: tuple[Any, ...], limit: float) -> tuple[Any, Exception | None]:
        """What the function returned, or what it raised."""
        self._asked.put(arguments)
        try:
            found: tuple[Any, Exception | None] = self._answers.get(timeout=limit)
        except queue.Empty:
            self._asked.put(None)  # the last, should it ever return
            raise TimedOut(f"no answer within {limit:g} s") from None
        return found

    def __del__(self) -> None:
        self._asked.put(None)


def _answer(
    function: Callable[..., Any],
    asked: "queue.SimpleQueue[Any]",
    answers: "queue.SimpleQueue[Any]",
) -> None:
    while (arguments := asked.get()) is not None:
        try:
            answers.put((function(*arguments), None))
        except Exception as error:  # to be raised where the answer is awaited
            answers.put((None, error))


def in_process(function: Callable[..., Any], limit: float | None) -> Worker:
    """Calls of a function in a process, which is killed and replaced when one takes too long.

    Args:
        function: that can be pickled.
        limit: seconds for a call; None for any time.

    Raises:
        UserError: a function that cannot be pickled.
    """
    try:
        pickle.dumps(function)
    except Exception as error:  # pickling runs what the object says
        raise UserError(
            f"simulate cannot be sent to a process ({str(error) or type(error).__name__}); pass a "
            "function of a module, or process=False"
        ) from None
    alive: list[_Process] = []

    def call(arguments: tuple[Any, ...]) -> Any:
        process = alive.pop() if alive else _Process(function)
        found, error = process.call(arguments, limit)
        alive.append(process)
        if error is not None:
            raise error
        return found

    return call


class _Process:
    """A process that answers one call after the other, and ends with this object."""

    def __init__(self, function: Callable[..., Any]) -> None:
        # Loaded where it is used, which few do.
        from multiprocessing import get_context

        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        given = {"pipe": theirs, "function": function}
        file = (answering.__file__, given, answering.RUN_AS)
        self._process = context.Process(target=run_path, args=file, daemon=True)
        self._process.start()
        theirs.close()
        self._receive(START_SECONDS)

    def call(self, arguments: tuple[Any, ...], limit: float | None) -> tuple[Any, Exception | None]:
        """What the function returned, or what it raised."""
        try:
            self._pipe.send(arguments)
        except OSError:
            self._raise_ended()
        found, error = self._receive(limit)
        return found, None if error is None else RaisedThere(error)

    def _receive(self, limit: float | None) -> Any:
        try:
            if self._pipe.poll(limit):
                return self._pipe.recv()
        except (EOFError, OSError):
            self._raise_ended()
        self._process.kill()
        self._process.join()
        raise TimedOut(f"no answer within {limit:g} s")

    def _raise_ended(self) -> None:
        self._process.join()
        code = self._process.exitcode
        raise ProcessEnded(f"the process of simulate ended with status {code}") from None
