"""``rso plot``: learning curves of one run or several, side by side."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from rso_jax.errors import UserError
from rso_jax.plots import plot_runs
from rso_jax.training import run_folder


@dataclass(frozen=True)
class Plot:
    """Plot test accuracy against cycles, updates of each weight and image evaluations."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders."""
    out: Path = Path("comparison.png")
    """Picture to write: .png, .svg or .pdf."""


def run_plot(config: Plot) -> int:
    """Write the picture; exit status 0."""
    if not config.runs:
        raise UserError("no run to plot; name one or more run folders")
    names = Counter(folder.name for folder in dict.fromkeys(config.runs))
    lines = {}
    for folder in config.runs:
        settings = run_folder.read_config(folder).get("settings", {})
        name = folder.name if names[folder.name] == 1 else str(folder)
        lines[f"{name} ({settings.get('optimizer', '?')})"] = run_folder.read_metrics(folder)
    if not config.out.parent.is_dir():
        raise UserError(f"{config.out.parent} does not exist; create it or choose another --out")
    with run_folder.writing(config.out):
        plot_runs(lines, config.out)
    print(f"wrote {config.out}")
    return 0
