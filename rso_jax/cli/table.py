"""Small tables: two columns for the end of a command, several for lists."""

import os
import sys
from collections.abc import Sequence


def print_table(rows: list[tuple[str, str]]) -> None:
    """Print names and values in two columns; the values in bold on a terminal."""
    bold = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        print(f"  {name:<{width}}  " + (f"\033[1m{value}\033[0m" if bold else value))


def print_columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their heads; a column whose cells all begin with a digit is flush right."""
    columns = list(zip(heads, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(cell[0].isdigit() or cell == "-" for cell in column[1:]) for column in columns]
    for row in [heads, *rows]:
        cells = [
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        ]
        print("  ".join(cells).rstrip())
