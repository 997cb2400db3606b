"""Lines: where in the user's code an operation of a traced loss comes from."""

import os
import sysconfig
from collections.abc import Sequence
from typing import Any, NamedTuple

_LIBRARIES = tuple(
    {os.path.dirname(__file__), *(sysconfig.get_path(name) for name in ("purelib", "stdlib"))}
)


class Line(NamedTuple):
    """A line of code, and the function that it is in."""

    file: str
    number: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"


def line_of(eqn: Any, callers: Sequence[Any] = ()) -> Line | None:
    """The innermost line outside of JAX, Flax and this package, if one is known.

    Args:
        eqn: the operation.
        callers: equations inside which it is, the innermost first. Their lines count where the
            operation has none of its own.
    """
    for each in (eqn, *callers):
        traceback = getattr(each.source_info, "traceback", None)
        for frame in getattr(traceback, "frames", ()):
            if not frame.file_name.startswith((*_LIBRARIES, "<")):
                function = frame.function_name.rpartition(".")[2]
                return Line(frame.file_name, frame.line_num, function)
    return None
