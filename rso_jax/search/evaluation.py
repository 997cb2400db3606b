"""Evaluation: how the candidates of a leaf are scored, and what is computed ahead and kept."""

import math
from typing import Any, Literal, NamedTuple

import jax
from jax import Array

from rso_jax.incremental import (
    ColumnProgram,
    cached_forward_program,
    column_program,
    count_flops,
    full_forward_program,
)
from rso_jax.search.leaves import Leaf, LossFn
from rso_jax.search.minibatches import MiniBatches, stack_shape

PyTree = Any
CandidateAxis = Literal["vmap", "map"]
Evaluation = Literal["column", "cached", "full"]

# On a CPU a forward pass above this already fills every core: three at once only fill the caches,
# and where kernels differ by candidate a vmapped convolution becomes a grouped one, which XLA's CPU
# backend runs several times slower. experiments/benchmarks/candidate_axis.py measures both sides.
MAP_ABOVE_FLOPS = 200e6

# A carried pre-activation is updated for every mini-batch of the stack at every visit; computing
# it anew for one takes as many multiply-adds per value as the column has weights.
UPDATES_PER_WEIGHT = 1


class Plan(NamedTuple):
    """How a sweep evaluates its candidates. The results are the same either way."""

    candidate_axis: CandidateAxis
    """``"vmap"`` scores the candidates of a visit at once, ``"map"`` one after the other."""
    keep_prefixes: bool
    """Compute the prefix of every mini-batch before the sweep and keep them."""
    keep_columns: bool
    """Compute what a column leaves fixed for every mini-batch before its visits."""
    carry_preactivations: bool
    """Keep the column's pre-activation for every mini-batch too, and update it at each visit."""
    bytes_kept: int
    """By the three above, in all."""
    loss_dtype: Any
    """Type of the loss."""


def plan_sweep(
    loss_fn: LossFn,
    params: PyTree,
    batches: PyTree,
    leaf: Leaf,
    *,
    evaluation: Evaluation,
    minibatches: MiniBatches,
    candidate_axis: CandidateAxis | None,
    memory_budget: int,
) -> tuple[ColumnProgram, Plan]:
    """The program that evaluates a leaf's candidates, and what to keep of it.

    Args:
        loss_fn: ``loss_fn(params, batch)``, a scalar.
        params: pytree of ``jax.ShapeDtypeStruct``.
        batches: stack of mini-batches [M, n, ...], likewise.
        leaf: to sweep.
        evaluation: ``"column"`` programs, the ``"full"`` loss for every candidate, or the loss
            from the leaf on, ``"cached"``.
        minibatches: how the sweep draws its mini-batches.
        candidate_axis: chosen by backend and FLOPs if None.
        memory_budget: bytes that may be kept.
    """
    count, _ = stack_shape(batches)
    batch = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), batches)
    if evaluation == "column":
        program = column_program(loss_fn, params, batch, leaf.position)
    elif evaluation == "cached":
        program = cached_forward_program(loss_fn, params, batch, leaf.position)
    else:
        program = full_forward_program(loss_fn, leaf.position)
    index = jax.ShapeDtypeStruct((), "int32")
    weights = jax.ShapeDtypeStruct(leaf.shape[:-1], leaf.dtype)
    prefix = jax.eval_shape(program.prefix, params, batch)
    column = jax.eval_shape(program.column, params, batch, prefix, index)
    inside = (params, batch, prefix, column, index, weights)
    z = jax.eval_shape(program.preactivation, *inside)

    prefix_bytes, column_bytes = count * _bytes(prefix), count * _bytes(column)
    z_bytes = count * _bytes(z)
    keep_prefixes = minibatches.in_turn and prefix_bytes <= memory_budget
    # A column shorter than the stack meets every mini-batch at most once.
    keep_columns = (
        keep_prefixes
        and math.prod(leaf.shape[:-1]) >= count
        and prefix_bytes + column_bytes <= memory_budget
    )
    carry = (
        bool(z)
        and keep_columns
        and math.prod(leaf.shape[:-1]) > UPDATES_PER_WEIGHT * count
        and prefix_bytes + column_bytes + z_bytes <= memory_budget
    )
    if candidate_axis is None:
        cpu = jax.default_backend() == "cpu"
        large = cpu and count_flops(loss_fn, params, batch) > MAP_ABOVE_FLOPS
        candidate_axis = "map" if large else "vmap"
    return program, Plan(
        candidate_axis,
        keep_prefixes,
        keep_columns,
        carry,
        prefix_bytes * keep_prefixes + column_bytes * keep_columns + z_bytes * carry,
        jax.eval_shape(program.loss, *inside, z).dtype,
    )


def prefixes_of(program: ColumnProgram, plan: Plan, params: PyTree, batches: PyTree) -> PyTree:
    """The prefix of every mini-batch [M, ...] where the plan keeps them, else nothing."""
    if not plan.keep_prefixes:
        return ()
    return jax.lax.map(lambda batch: program.prefix(params, batch), batches)


def _bytes(tree: PyTree) -> int:
    leaves: list[Array] = jax.tree.leaves(tree)
    return sum(a.size * a.dtype.itemsize for a in leaves)
