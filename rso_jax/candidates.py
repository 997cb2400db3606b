"""Candidates scored side by side: how many at once, in turn, or along an axis of the mesh."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import Mesh

from rso_jax.errors import UserError
from rso_jax.folded import candidates_within_images
from rso_jax.incremental import count_flops
from rso_jax.incremental.jaxprs import walk
from rso_jax.mesh import CANDIDATE, DATA, constrain, size_of

PyTree = Any
CandidateAxis = Literal["vmap", "map"]
"""All candidates of a visit at once by ``vmap``, or one after the other: one call of whatever the
loss calls for each candidate."""

# On a CPU a forward pass above this already fills every core: three at once only fill the caches,
# and where kernels differ by candidate a vmapped convolution becomes a grouped one, which XLA's CPU
# backend runs several times slower. experiments/benchmarks/candidate_axis.py measures both sides.
MAP_ABOVE_FLOPS = 200e6

# On a CPU, candidates scored at once should stay in the caches: 1152 probes of 64 small images take
# 240 ms all at once and 100 ms in groups of 16 to 64 MiB, on two cores.
AT_ONCE_BYTES_ON_CPU = 32 * 2**20


def candidate_axis_of(
    loss_fn: Callable[[PyTree, PyTree], Array],
    params: PyTree,
    batch: PyTree,
    mesh: Mesh | None = None,
) -> CandidateAxis:
    """Whether a device scores candidates in turn or all at once, by backend and size.

    In turn where the loss calls back to the host in a way that takes one candidate at a time.

    Raises:
        UserError: such a loss on a mesh that scores candidates side by side.
    """
    if calls_one_at_a_time(loss_fn, params, batch):
        check_in_turn(mesh)
        return "map"
    cpu = jax.default_backend() == "cpu"
    large = count_flops(loss_fn, params, batch) > MAP_ABOVE_FLOPS * size_of(mesh, DATA)
    return "map" if cpu and large else "vmap"


def check_in_turn(mesh: Mesh | None) -> None:
    """Refuse a mesh on which candidates are not scored one at a time.

    Raises:
        UserError: its candidate axis has several devices.
    """
    if (parts := size_of(mesh, CANDIDATE)) > 1:
        raise UserError(
            f"one candidate at a time, by candidate_axis='map' or because the loss calls back to "
            f"the host, and a mesh with candidate={parts} exclude each other; use candidate=1, "
            "or candidate_axis='vmap' with callbacks that have a vmap_method"
        )


def calls_one_at_a_time(
    loss_fn: Callable[[PyTree, PyTree], Array], params: PyTree, batch: PyTree
) -> bool:
    """Whether the loss calls back to the host in a way that takes one candidate at a time."""
    return any(_one_call_each(eqn) for eqn in walk(jax.make_jaxpr(loss_fn)(params, batch).jaxpr))


def _one_call_each(eqn: Any) -> bool:
    name = eqn.primitive.name
    return name == "io_callback" or (
        name == "pure_callback" and eqn.params.get("vmap_method", "sequential") is None
    )


def evaluate_candidates(
    loss: Callable[..., Array], tried: tuple[PyTree, ...], at_once: int, mesh: Mesh | None
) -> Array:
    """The loss [n] of each of n candidates.

    Args:
        loss: ``loss(*one)`` of one candidate, a scalar.
        tried: what candidates differ in, pytrees of arrays [n, ...].
        at_once: scored by ``vmap`` on a device; more are scored in turn. With 1 there is no
            ``vmap``, as long as the mesh has one device along its candidate axis.
        mesh: whose candidate axis shares them out. Where it does not divide them some are scored
            twice.
    """
    count = jax.tree.leaves(tried)[0].shape[0]
    parts = size_of(mesh, CANDIDATE)
    if size_of(mesh, DATA) > 1:
        loss = candidates_within_images(loss)
    if parts == 1:
        return map_candidates(loss, tried, at_once)
    each = -(-count // parts)
    turns = -(-each // at_once)
    width = parts * -(-each // turns)

    def side_by_side(some: tuple[PyTree, ...]) -> Array:
        some = constrain(mesh, some, CANDIDATE)
        own = jax.tree.map(lambda a: a.reshape(parts, -1, *a.shape[1:]), some)
        own = constrain(mesh, own, CANDIDATE)
        losses = jax.vmap(jax.vmap(loss), spmd_axis_name=CANDIDATE)(*own)
        return constrain(mesh, losses.reshape(-1))

    def filled(array: Array) -> Array:
        rest = [(0, 0)] * (array.ndim - 1)
        return jnp.pad(array, [(0, turns * width - count), *rest], mode="edge")

    # Whole on every device first: how they are made should not follow how they are shared out.
    padded = jax.tree.map(filled, constrain(mesh, tried))
    if turns == 1:
        return side_by_side(padded)[:count]
    in_turn = jax.tree.map(lambda a: a.reshape(turns, width, *a.shape[1:]), padded)
    return lax.map(side_by_side, in_turn).reshape(-1)[:count]


def map_candidates(
    function: Callable[..., PyTree], tried: tuple[PyTree, ...], at_once: int
) -> PyTree:
    """What a function makes of each of n candidates, [n, ...], on the devices that each has.

    Args:
        function: ``function(*one)`` of one candidate.
        tried: what candidates differ in, pytrees of arrays [n, ...].
        at_once: by ``vmap``; more are taken in turn. With 1 there is no ``vmap``.
    """
    if at_once == 1:
        return lax.map(lambda one: function(*one), tried)
    if at_once >= jax.tree.leaves(tried)[0].shape[0]:
        return jax.vmap(function)(*tried)
    return lax.map(lambda one: function(*one), tried, batch_size=at_once)


def room_for(
    memory_budget: int,
    mesh: Mesh | None,
    function: Callable[..., Any],
    *arguments: Any,
    on_cpu: int = AT_ONCE_BYTES_ON_CPU,
) -> int:
    """How many candidates there is surely room for at once on a device, from 0 on.

    Args:
        memory_budget: bytes.
        mesh: devices that share a candidate's examples.
        function: what is computed for one candidate.
        *arguments: of it, as ``jax.ShapeDtypeStruct``.
        on_cpu: bytes that a CPU's caches should hold, where candidates are scored on one.
    """
    cpu = jax.default_backend() == "cpu"
    room = min(memory_budget, on_cpu) if cpu else memory_budget
    # All results along the way: at least what is held at any time.
    made = [v.aval for e in jax.make_jaxpr(function)(*arguments).eqns for v in e.outvars]
    return room // max(count_bytes(made) // size_of(mesh, DATA), 1)


def count_bytes(tree: PyTree) -> int:
    """Bytes of all arrays, or of ``jax.ShapeDtypeStruct``."""
    return sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(tree))


def finite_or_inf(losses: Array) -> Array:
    """A loss that is NaN or infinite is never accepted."""
    return jnp.where(jnp.isfinite(losses), losses, jnp.inf)


def count_not_finite(losses: Array) -> Array:
    """How many losses are NaN or infinite."""
    return jnp.sum(~jnp.isfinite(losses), dtype=jnp.int32)
