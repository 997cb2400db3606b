"""Leaves: the arrays of a parameter pytree, and what of each is a column.

``describe`` finds in the trace of a loss which arrays are searched, in which layers they are, and
by ``layout`` which of their axes hold outputs; ``columns`` turns an array into its columns and
back.
"""

from rso_jax.leaves.columns import Axes, Outputs, as_stored, in_columns
from rso_jax.leaves.describe import describe_leaves, mark_searched, searched_leaves
from rso_jax.leaves.leaf import (
    Leaf,
    LossFn,
    loss_of_columns,
    sort_last_to_first,
    with_columns,
    within_layer,
)
from rso_jax.leaves.shapes import Shapes, shapes_of

__all__ = [
    "Axes",
    "Leaf",
    "LossFn",
    "Outputs",
    "Shapes",
    "as_stored",
    "describe_leaves",
    "in_columns",
    "loss_of_columns",
    "mark_searched",
    "searched_leaves",
    "shapes_of",
    "sort_last_to_first",
    "with_columns",
    "within_layer",
]
