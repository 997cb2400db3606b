"""rso_jax: train neural networks without gradients.

``rso(loss_fn)`` turns a JAX loss function into a random search over its parameters, one
weight at a time (Tripathi & Singh, arXiv 2005.05955). Importing this package loads jax, optax
and numpy; what needs more (``slopes``, ``networks``, ``data``, ``tasks``, ``training``,
``baselines``, ``black_boxes``, ``environments``, ``plots``) loads when used.
"""

import importlib
from typing import Any

from rso_jax import incremental, mesh
from rso_jax.errors import UserError
from rso_jax.method import Method, step
from rso_jax.search import presets, rso

__version__ = "0.1.0"
__all__ = [
    "Method",
    "UserError",
    "baselines",
    "black_boxes",
    "data",
    "environments",
    "incremental",
    "mesh",
    "networks",
    "plots",
    "presets",
    "rso",
    "slopes",
    "step",
    "tasks",
    "training",
]


_LATER = {
    *("baselines", "black_boxes", "data", "environments", "networks", "plots", "slopes"),
    *("tasks", "training"),
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return importlib.import_module(f"rso_jax.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
