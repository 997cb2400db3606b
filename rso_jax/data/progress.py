"""A progress bar for work on many images."""

import sys
from typing import Any


def image_bar(total: int, description: str) -> Any:
    """Return a tqdm bar on stderr, invisible where stderr is no terminal."""
    from tqdm import tqdm

    return tqdm(
        total=total,
        desc=description,
        unit="img",
        file=sys.stderr,
        disable=not sys.stderr.isatty(),
        dynamic_ncols=True,
        leave=False,
    )
