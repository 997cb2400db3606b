"""What a process does that answers calls for ``time_limits``: run as a file, without the package.

So the process loads Python and what the function needs, and JAX only if the function does.
"""

import pickle
from collections.abc import Callable
from typing import Any

RUN_AS = "answering"
"""Name under which the file is run, with ``pipe`` and ``function`` among its globals."""


def answer_calls(pipe: Any, function: Callable[..., Any]) -> None:
    """Answer calls until the other end of the pipe is gone.

    Args:
        pipe: from which arguments come and to which ``(result, error)`` goes, the error in words;
            once, ahead of all, that calls may come.
        function: that is called.
    """
    pipe.send("ready")
    while True:
        try:
            arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(_outcome(function, arguments))


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, str | None]:
    """What a call returned or raised, as can be sent."""
    try:
        outcome = function(*arguments), None
        pickle.dumps(outcome)
    except Exception as error:  # to be raised where the answer is awaited
        first = str(error).strip().splitlines()[:1] or ["no message"]
        return None, f"{type(error).__name__}: {first[0]}"
    return outcome


if __name__ == RUN_AS:
    answer_calls(globals()["pipe"], globals()["function"])
