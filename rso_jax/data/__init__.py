"""Data sets as NumPy arrays: ``load``, ``normalize``, ``stack_minibatches``; and loaders."""

from rso_jax.data.dataset import Dataset
from rso_jax.data.loaders import stacks_from
from rso_jax.data.loading import DATASETS, load
from rso_jax.data.normalization import normalize
from rso_jax.data.stacking import draw_minibatches, stack_minibatches, take_examples

__all__ = [
    "DATASETS",
    "Dataset",
    "draw_minibatches",
    "load",
    "normalize",
    "stack_minibatches",
    "stacks_from",
    "take_examples",
]
