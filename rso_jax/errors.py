"""The one kind of error that is the user's to mend, and the hint to a name that was misspelt."""

import difflib
import operator
from collections.abc import Iterable
from typing import Any


class UserError(ValueError):
    """Bad input, said in one line that names the value and the remedy.

    The command line prints the message and exits with status 2; from Python it is an
    ordinary ``ValueError``.
    """


def did_you_mean(name: Any, known: Iterable[str]) -> str:
    """``"did you mean 'column'? "`` where a known name is close, else nothing.

    Args:
        name: as given.
        known: names that exist.
    """
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f"did you mean {close[0]!r}? " if close else ""


def check_name(what: str, name: Any, known: Iterable[str]) -> None:
    """Refuse a name that is not among the known ones.

    Args:
        what: the setting, as the user calls it.
        name: as given.
        known: names that exist.

    Raises:
        UserError: with the name that was probably meant.
    """
    known = list(known)
    if not isinstance(name, str) or name not in known:
        hint = did_you_mean(name, known)
        raise UserError(f"{what} is {name!r}: {hint}known are {', '.join(map(repr, known))}")


def whole_number(name: str, value: Any, least: int) -> int:
    """The value as an int.

    Args:
        name: the setting, as the user calls it.
        value: as given.
        least: that it may be.

    Raises:
        UserError: it is no whole number, or too small.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise UserError(f"{name} is {value!r}; it must be a whole number")
    if number < least:
        raise UserError(f"{name} is {number}; it must be at least {least}")
    return number
