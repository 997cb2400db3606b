"""Tasks: what is trained and how it is judged; image classification is one of them.

Networks and data load with the first use of what needs them: a task of one's own needs neither.
"""

import importlib
from typing import TYPE_CHECKING, Any

from rso_jax.tasks.task import Task

if TYPE_CHECKING:
    from rso_jax.tasks.acting import episode_losses, mean_loss, policies
    from rso_jax.tasks.classifying import classification
    from rso_jax.tasks.scoring import Score, calibrate, score
    from rso_jax.tasks.text import characters

__all__ = [
    "Score",
    "Task",
    "calibrate",
    "characters",
    "classification",
    "episode_losses",
    "mean_loss",
    "policies",
    "score",
]


def __getattr__(name: str) -> Any:
    if name == "classification":
        return importlib.import_module("rso_jax.tasks.classifying").classification
    if name == "characters":
        return importlib.import_module("rso_jax.tasks.text").characters
    if name in ("episode_losses", "mean_loss", "policies"):
        return getattr(importlib.import_module("rso_jax.tasks.acting"), name)
    if name in ("Score", "calibrate", "score"):
        return getattr(importlib.import_module("rso_jax.tasks.scoring"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
