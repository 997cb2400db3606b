"""Notes: which operations of a loss made a slice dense, and on which line of the user's code."""

import os
import sysconfig
from collections.abc import Sequence
from typing import Any, NamedTuple

from rso_jax.incremental.jaxprs import CALLS
from rso_jax.incremental.values import Dense, Sliced, Sum, Value

_LIBRARIES = tuple(
    {os.path.dirname(__file__), *(sysconfig.get_path(name) for name in ("purelib", "stdlib"))}
)
_MIXING = ("dot_general", "conv_general_dilated", "reduce_sum", "reduce_max", "reduce_min")


class Note(NamedTuple):
    """An operation from which on all of an array may depend on the column."""

    primitive: str
    line: str
    """``file:line`` of the user's code, empty where it is not known."""
    reason: str
    shape: tuple[int, ...]
    """Of the result."""


class Notes(NamedTuple):
    """What was noted so far, and from where the function being looked at was called."""

    found: list[Note]
    caller: str = ""
    """A line as in a note."""

    def inside(self, eqn: Any) -> "Notes":
        """The notes for the function that an operation calls."""
        return Notes(self.found, _line_of(eqn) or self.caller)


def note(
    notes: Notes | None, eqn: Any, operands: Sequence[Value], results: Sequence[Value]
) -> None:
    """Write down an operation that makes a sliced operand dense.

    Args:
        notes: where to; nothing is written if None.
        eqn: the operation.
        operands: of it. Where one is dense already, it is the cause, and was written down.
        results: of it.
    """
    name = eqn.primitive.name
    if (
        notes is None
        or name in CALLS
        or not any(isinstance(v, Sliced) for v in operands)
        or any(isinstance(v, Dense | Sum) for v in operands)
        or not any(isinstance(v, Dense | Sum) for v in results)
    ):
        return
    if name in _MIXING:
        reason = "adds up over the column's channel"
    else:
        reason = "the slice does not survive it" if _has_rule(name) else "has no rule"
    line = _line_of(eqn) or notes.caller
    notes.found.append(Note(name, line, reason, tuple(eqn.outvars[0].aval.shape)))


def _has_rule(name: str) -> bool:
    from rso_jax.incremental.rules import RULES

    return name in RULES


def _line_of(eqn: Any) -> str:
    """The innermost line outside of JAX, Flax and this package."""
    traceback = getattr(eqn.source_info, "traceback", None)
    for frame in getattr(traceback, "frames", ()):
        if not frame.file_name.startswith(_LIBRARIES) and not frame.file_name.startswith("<"):
            return f"{frame.file_name}:{frame.line_num}"
    return ""
