"""Docstrings as the site shows them: their blocks of code and tables in Markdown.

In the code they are written as Python's own help shows them best: ``::`` before an indented block,
tables with rules of equals signs.
"""

import re
from typing import Any

from griffe import Docstring, Extension, Object

RULE = re.compile(r"^=+(?: +=+)+$")


class Docstrings(Extension):
    """What mkdocstrings asks for; see ``mkdocs.yml``."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrite the docstring of whatever was loaded."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)
        elif obj.is_attribute and obj.parent is not None and obj.parent.is_class:
            # A field that needs no words is a field all the same.
            obj.docstring = Docstring("", parent=obj)


def to_markdown(text: str) -> str:
    """A docstring with Markdown's blocks of code and tables."""
    parts = [part for part in re.split(r"\n\s*\n", text) if part.strip() != "::"]
    whole = "\n\n".join(as_table(part.splitlines()) or part for part in parts)
    return re.sub(r"::$", ":", whole, flags=re.MULTILINE)


def as_table(rows: list[str]) -> str | None:
    """A table between rules of equals signs, with a third below its head if it has one.

    A row without a first cell goes on the one before.

    Args:
        rows: lines of a paragraph; None is returned of another.
    """
    if not rows or not RULE.match(rows[0]):
        return None
    columns = [slice(found.start(), found.end() + 1) for found in re.finditer("=+", rows[0])]
    columns[-1] = slice(columns[-1].start, None)
    found: list[list[str]] = []
    for row in rows:
        if RULE.match(row):
            continue
        cells = [row[column].strip() for column in columns]
        if cells[0]:
            found.append(cells)
        else:
            found[-1] = [f"{a} {b}".strip() for a, b in zip(found[-1], cells, strict=True)]
    if sum(bool(RULE.match(row)) for row in rows) == 2:
        found.insert(0, [""] * len(columns))
    lines = [f"| {' | '.join(cells)} |" for cells in found]
    return "\n".join([lines[0], "|---" * len(columns) + "|", *lines[1:]])
