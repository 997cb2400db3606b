"""The one kind of error that is the user's to mend, and the hint to a name that was misspelt."""

import difflib
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
