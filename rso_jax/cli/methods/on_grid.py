"""What a search tries where weights are on a grid: perturbations that stay there."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jax import Array

from rso_jax.networks import grids, int8
from rso_jax.search import proposals
from rso_jax.search.proposals import ByLeaf, Proposal


def _flip(kernel: Any) -> Proposal:
    del kernel
    return proposals.sign_flip


def _other_two(kernel: Any) -> Proposal:
    scale = grids.scale_of(kernel)

    def propose(key: Array, weight: Array, sigma: Array) -> Array:
        return proposals.ternary_step(key, weight, jnp.asarray(scale, sigma.dtype))

    return propose


def _whole_units(kernel: Any) -> Proposal:
    unit = int8.unit_of(kernel)

    def propose(key: Array, weight: Array, sigma: Array) -> Array:
        drawn = proposals.normal(key, weight, sigma)
        units = jnp.sign(drawn) * jnp.maximum(jnp.round(jnp.abs(drawn) / unit), 1)
        most = int8.MOST * jnp.asarray(unit, weight.dtype)
        return jnp.clip(weight + units * unit, -most, most) - weight

    return propose


ON_GRIDS: dict[str, Callable[[Any], Proposal]] = {
    "binary": _flip,
    "ternary": _other_two,
    "int8": _whole_units,
}
"""Of a kernel whose weights are on a grid: perturbations that stay there."""


def propose_on_grid(grid: str, kernels: Mapping[str, Any], others: Proposal) -> ByLeaf:
    """Perturbations that leave kernels on a grid.

    Args:
        grid: its name.
        kernels: what is on the grid, arrays or ``jax.ShapeDtypeStruct`` by path.
        others: for all other leaves.
    """
    return ByLeaf(lambda path: ON_GRIDS[grid](kernels[path]) if path in kernels else others)
