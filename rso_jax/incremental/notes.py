"""Notes: which operations of a loss made a slice dense, and on which line of the user's code."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from rso_jax.incremental.jaxprs import is_wrapper
from rso_jax.incremental.lines import line_of
from rso_jax.incremental.rules import RULES
from rso_jax.incremental.values import Dense, Sliced, Sum, Value

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
    """What was noted so far, and inside which equations the one being looked at is."""

    found: list[Note]
    callers: tuple[Any, ...] = ()
    """The innermost first."""

    def inside(self, eqn: Any) -> "Notes":
        """The notes for the function that an equation holds."""
        return Notes(self.found, (eqn, *self.callers))


def note_dense(notes: Notes, eqn: Any, operands: Sequence[Value], results: Sequence[Value]) -> None:
    """Write down an operation that makes a sliced operand dense.

    Args:
        notes: where to.
        eqn: the operation.
        operands: of it. Where one is dense already, it is the cause, and was written down.
        results: of it.
    """
    name = eqn.primitive.name
    if (
        is_wrapper(name)
        or not any(isinstance(v, Sliced) for v in operands)
        or any(isinstance(v, Dense | Sum) for v in operands)
        or not any(isinstance(v, Dense | Sum) for v in results)
    ):
        return
    if name in _MIXING:
        reason = "adds up over the column's channel"
    else:
        reason = "the slice does not survive it" if name in RULES else "has no rule"
    line = line_of(eqn, notes.callers)
    shape = tuple(eqn.outvars[0].aval.shape)
    notes.found.append(Note(name, str(line or ""), reason, shape))
