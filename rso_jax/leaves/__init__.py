"""Leaves: the arrays of a parameter pytree, and what of each is a column.

``describe`` finds in the trace of a loss which arrays are searched, in which layers they are, and
by ``layout`` which of their axes hold outputs; ``columns`` turns an array into its columns and
back. ``losses`` says which of several losses an array is searched on.
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
from rso_jax.leaves.losses import (
    LookAhead,
    LossesFn,
    all_losses,
    check_look_ahead,
    loss_named,
    losses_of_leaves,
    names_of_losses,
    split_losses,
)
from rso_jax.leaves.shapes import Shapes, shapes_of

__all__ = [
    "Axes",
    "Leaf",
    "LookAhead",
    "LossFn",
    "LossesFn",
    "Outputs",
    "Shapes",
    "all_losses",
    "as_stored",
    "check_look_ahead",
    "describe_leaves",
    "in_columns",
    "loss_named",
    "loss_of_columns",
    "losses_of_leaves",
    "mark_searched",
    "names_of_losses",
    "searched_leaves",
    "shapes_of",
    "sort_last_to_first",
    "split_losses",
    "with_columns",
    "within_layer",
]
