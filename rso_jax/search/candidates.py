"""Candidates scored side by side: how many at once, in turn, or along an axis of the mesh."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import Mesh

from rso_jax.incremental import count_flops
from rso_jax.mesh import CANDIDATE, DATA, along, size_of
from rso_jax.search.folded import candidates_within_images

PyTree = Any
CandidateAxis = Literal["vmap", "map"]

# On a CPU a forward pass above this already fills every core: three at once only fill the caches,
# and where kernels differ by candidate a vmapped convolution becomes a grouped one, which XLA's CPU
# backend runs several times slower. experiments/benchmarks/candidate_axis.py measures both sides.
MAP_ABOVE_FLOPS = 200e6


def candidate_axis_of(
    loss_fn: Callable[[PyTree, PyTree], Array],
    params: PyTree,
    batch: PyTree,
    mesh: Mesh | None = None,
) -> CandidateAxis:
    """Whether a device scores candidates faster in turn or all at once, by backend and size."""
    cpu = jax.default_backend() == "cpu"
    large = count_flops(loss_fn, params, batch) > MAP_ABOVE_FLOPS * size_of(mesh, DATA)
    return "map" if cpu and large else "vmap"


def score(
    loss: Callable[..., Array], tried: tuple[PyTree, ...], at_once: int, mesh: Mesh | None
) -> Array:
    """The loss [n] of each of n candidates.

    Args:
        loss: ``loss(*one)`` of one candidate, a scalar.
        tried: what candidates differ in, pytrees of arrays [n, ...].
        at_once: scored by ``vmap`` on a device; more are scored in turn.
        mesh: whose candidate axis shares them out. Where it does not divide them some are scored
            twice.
    """
    count = jax.tree.leaves(tried)[0].shape[0]
    parts = size_of(mesh, CANDIDATE)
    if size_of(mesh, DATA) > 1:
        loss = candidates_within_images(loss)
    if parts == 1:
        if at_once >= count:
            return jax.vmap(loss)(*tried)
        return lax.map(lambda one: loss(*one), tried, batch_size=at_once)
    each = -(-count // parts)
    turns = -(-each // at_once)
    width = parts * -(-each // turns)

    def side_by_side(some: tuple[PyTree, ...]) -> Array:
        some = along(mesh, some, CANDIDATE)
        own = jax.tree.map(lambda a: a.reshape(parts, -1, *a.shape[1:]), some)
        own = along(mesh, own, CANDIDATE)
        losses = jax.vmap(jax.vmap(loss), spmd_axis_name=CANDIDATE)(*own)
        return along(mesh, losses.reshape(-1))

    def filled(array: Array) -> Array:
        rest = [(0, 0)] * (array.ndim - 1)
        return jnp.pad(array, [(0, turns * width - count), *rest], mode="edge")

    # Whole on every device first: how they are made should not follow how they are shared out.
    padded = jax.tree.map(filled, along(mesh, tried))
    if turns == 1:
        return side_by_side(padded)[:count]
    in_turn = jax.tree.map(lambda a: a.reshape(turns, width, *a.shape[1:]), padded)
    return lax.map(side_by_side, in_turn).reshape(-1)[:count]
