"""Notes: which operations of a loss made a slice dense, and on which line of the user's code."""

import os
import sysconfig
from collections.abc import Sequence
from typing import Any, NamedTuple

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


Notes = list[Note]


def note(
    notes: Notes | None, eqn: Any, operands: Sequence[Value], results: Sequence[Value]
) -> None:
    """Write down an operation that has a sliced operand and a dense result.

    Args:
        notes: where to; nothing is written if None.
        eqn: the operation.
        operands: of it.
        results: of it.
    """
    if notes is None or not any(isinstance(v, Sliced) for v in operands):
        return
    if not any(isinstance(v, Dense | Sum) for v in results):
        return
    name = eqn.primitive.name
    if any(isinstance(v, Dense | Sum) for v in operands):
        reason = "meets an array that is dense already"
    elif name in _MIXING:
        reason = "adds up over the column's channel"
    elif _has_rule(name):
        reason = "the slice does not survive it"
    else:
        reason = "has no rule"
    notes.append(Note(name, _line_of(eqn), reason, tuple(eqn.outvars[0].aval.shape)))


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
