"""A small two-column table for the end of a command."""

import os
import sys


def print_table(rows: list[tuple[str, str]]) -> None:
    """Print names and values in two columns; the values in bold on a terminal."""
    bold = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        print(f"  {name:<{width}}  " + (f"\033[1m{value}\033[0m" if bold else value))
