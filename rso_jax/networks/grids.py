"""Weights on a grid: kernels whose weights take two values, three, or those of eight bits.

The values of a kernel are multiples of a unit of its own, which follows from its fan-in: what one
stores is a few bits for each weight. Of binary and ternary networks scales, shifts and biases stay
real numbers.

A method that takes steps keeps a real number for each weight beside the parameters, steps that,
and puts the nearest value of the grid into the network (``stay_on_grid``; BinaryConnect:
Courbariaux et al., arXiv 1511.00363). So whatever is evaluated has its weights on the grid, and
slopes are those of what is deployed. A method that moves all weights at random moves such real
numbers, and a candidate is the network that they are rounded to (``round_network``).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from rso_jax.networks.functional import Network
from rso_jax.trees import holds_weights

PyTree = Any

REACH = 1.5
"""Real numbers go no further than this, in units of a kernel's scale, so that a weight can always
come back."""


class Grid(NamedTuple):
    """Values that parameters can have."""

    nearest: Callable[[Array], Array]
    """The nearest of them, of one array of the parameters, of its shape and type."""
    bound: Callable[[Array], Array]
    """Real numbers for an array, none of them too far from the grid to come back."""


def is_kernel(array: Any) -> bool:
    """Whether an array is one of weights: real numbers [*inputs, outputs]."""
    return holds_weights(array) and np.ndim(array) > 1


def scale_of(kernel: Any) -> float:
    """The scale of a kernel, as He et al. draw it: sqrt(2 / fan-in), of all axes but the last."""
    return math.sqrt(2 / math.prod(np.shape(kernel)[:-1]))


def _binary(kernel: Array) -> Array:
    scale = scale_of(kernel)
    return jnp.where(kernel >= 0, scale, -scale).astype(kernel.dtype)


def _ternary(kernel: Array) -> Array:
    inside = jnp.abs(kernel) < scale_of(kernel) / 2
    return jnp.where(inside, 0, _binary(kernel)).astype(kernel.dtype)


def _reach(kernel: Array) -> Array:
    most = REACH * scale_of(kernel)
    return jnp.clip(kernel, -most, most)


def _of_kernels(change: Callable[[Array], Array], array: Array) -> Array:
    return change(array) if is_kernel(array) else array


binary = Grid(partial(_of_kernels, _binary), partial(_of_kernels, _reach))
"""A kernel's weights are -scale or scale."""
ternary = Grid(partial(_of_kernels, _ternary), partial(_of_kernels, _reach))
"""A kernel's weights are -scale, 0 or scale; 0 is what is nearest within half a scale."""


class OnGrid(NamedTuple):
    """What ``stay_on_grid`` remembers."""

    inner: PyTree
    """State of the optimiser that steps."""
    real: PyTree
    """The real numbers that weights are rounded from."""


def put_on_grid(grid: Grid, params: PyTree) -> PyTree:
    """Parameters, a pytree of arrays, at the nearest values of the grid."""
    return jax.tree.map(grid.nearest, params)


def stay_on_grid(
    optimizer: optax.GradientTransformation, grid: Grid
) -> optax.GradientTransformation:
    """An optimiser whose steps end on the grid.

    Args:
        optimizer: what steps the real numbers; weight decay shrinks those.
        grid: what they are rounded to.
    """

    def init(params: PyTree) -> OnGrid:
        return OnGrid(optimizer.init(params), jax.tree.map(jnp.asarray, params))

    def update(slopes: PyTree, state: OnGrid, params: PyTree = None) -> tuple[PyTree, OnGrid]:
        steps, inner = optimizer.update(slopes, state.inner, state.real)
        steps = jax.tree.map(lambda s, r: s.astype(r.dtype), steps, state.real)
        real = jax.tree.map(grid.bound, optax.apply_updates(state.real, steps))
        rounded = put_on_grid(grid, real)
        return jax.tree.map(jnp.subtract, rounded, params), OnGrid(inner, real)

    return optax.GradientTransformation(init, update)


def network_on_grid(network: Network, grid: Grid) -> Network:
    """The network whose first weights are on the grid, and which is evaluated there.

    Its logits while searching are of the weights that they are given: what steps, stays on the grid
    by ``stay_on_grid``, or rounds by ``round_network``.
    """

    def init(key: Array, inputs: Array) -> PyTree:
        return put_on_grid(grid, network.init(key, inputs))

    rounded = round_network(network, grid)
    return rounded._replace(init=init, logits=network.logits)


def round_network(network: Network, grid: Grid) -> Network:
    """The network of the nearest weights on the grid, whichever it is given."""
    return network._replace(
        logits=lambda params, inputs: network.logits(put_on_grid(grid, params), inputs),
        calibrate=lambda params, inputs: network.calibrate(put_on_grid(grid, params), inputs),
        evaluate=lambda params, *rest: network.evaluate(put_on_grid(grid, params), *rest),
    )
