"""A column of a leaf as probes see it, and the units of moves and changes."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

Meeting = Literal["nowhere", "at once", "later"]
"""Where examples meet in what follows from a pre-activation: in statistics of itself alone, as of a
batch norm that follows at once, or of what a nonlinear operation made of it."""


class Size(NamedTuple):
    """What a column's probes are counted from."""

    height: int
    """Weights of the column."""
    positions: int
    """Values of its pre-activation for every example; 0 where it has none that examples own."""
    credited: bool
    """Whether every example has a loss of its own."""
    tokens: int
    """Losses of every example; 1 where it has one."""
    meeting: Callable[[], Meeting]
    """Where examples meet in what follows from its pre-activation."""
    price: Callable[[str], float]
    """What an evaluation takes that moves weights, nodes or positions: bytes read and written, and
    operations in that unit."""


class Column(NamedTuple):
    """A column of a leaf on one mini-batch, as a probe sees it."""

    size: Size
    weights: Array
    """Its weights [height], flattened in row-major order."""
    z: Array
    """Its pre-activation [examples, positions]."""
    tokens: np.ndarray
    """The token at which each position lies, [positions]; -1 where that is not known."""
    losses: Array
    """Of every example and token, [examples, tokens], before anything is moved; [1, 1] where the
    loss is one number."""
    move_weight: Callable[[Array, Array], Array]
    """``(k, value)``: the losses with weight ``k`` at another value."""
    move_z: Callable[[Array], Array]
    """``(z)``: the losses with another pre-activation."""
    move_at: Callable[[Array, Array], Array]
    """``(position, values)``: the losses with other values [examples] at one position of z; what
    examples share stays as it is, where that is known."""
    map: Callable[..., Array]
    """``map(function, *xs)`` along the first axes, as many at once as there is room for."""


def finite(change: Array) -> Array:
    """A change of the loss, or 0 where one of the two losses is NaN or infinite."""
    return jnp.where(jnp.isfinite(change), change, 0)


def spread(values: Array) -> Array:
    """Root mean square, or 1 where that is 0."""
    found = jnp.sqrt(jnp.mean(values**2))
    return jnp.where(found > 0, found, 1)
