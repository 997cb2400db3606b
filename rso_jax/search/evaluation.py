"""Evaluation: how the candidates of a leaf are scored, and what is computed ahead and kept."""

import itertools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
from jax import Array
from jax.sharding import Mesh

from rso_jax.candidates import CandidateAxis, candidate_axis_of, score
from rso_jax.incremental import (
    ColumnProgram,
    cached_forward_program,
    column_program,
    full_forward_program,
)
from rso_jax.mesh import DATA, size_of
from rso_jax.search.contracts import check_acceptance, check_proposal, check_step
from rso_jax.search.joint import Block
from rso_jax.search.leaves import Leaf, LossFn, Stretch, stretch_of_column, stretch_of_leaf
from rso_jax.search.sweep import Rule
from rso_jax.stacks import one_of_stack, stack_shape

PyTree = Any
Evaluation = Literal["column", "cached", "full"]

# On a CPU, candidates scored at once should stay in the caches: 1152 probes of 64 small images take
# 240 ms all at once and 100 ms in groups of 16 to 64 MiB, on two cores.
AT_ONCE_BYTES_ON_CPU = 32 * 2**20

# A carried pre-activation is updated for every mini-batch of the stack at every visit; computing
# it anew for one takes as many multiply-adds per value as the column has weights.
UPDATES_PER_WEIGHT = 1

# While it is carried it picks up rounding: after so many updates it is computed anew.
MOST_UPDATES_CARRIED = 64


class Plan(NamedTuple):
    """How a sweep evaluates its candidates. The results are the same either way."""

    stretch: Stretch
    """Visits that belong together: a block, or those between which a pre-activation is carried."""
    at_once: int
    """Candidates scored at once by a device, by ``vmap``; more are scored in turn."""
    keep_prefixes: bool
    """Compute the prefix of every mini-batch before the sweep and keep them."""
    keep_columns: bool
    """Compute what a column leaves fixed for every mini-batch before its visits."""
    carry_preactivations: bool
    """Keep the column's pre-activation for every mini-batch too, and update it at each visit."""
    bytes_kept: int
    """By the three above, in all, on every device."""
    reuse_incumbent: bool
    """Take the incumbent's loss from the visit before, which had the same mini-batch."""
    candidates: int
    """Values tried of a weight, the incumbent included."""
    joint_steps: int
    """Candidates of a whole block; 0 in a sequential search."""
    side_by_side: int
    """The most candidates that may be scored at once."""
    each_visit: int
    """Candidates scored for every weight visited."""
    each_stretch: int
    """Candidates scored for every stretch, besides."""
    loss_dtype: Any
    """Type of the loss."""
    mesh: Mesh | None
    """Devices that share the work; None for one."""

    def evaluations(self, leaf: Leaf, start: int, stop: int) -> int:
        """Candidates scored in visits ``start`` to ``stop - 1`` of a leaf."""
        stretches = self._stretches(leaf, start, stop)
        return (stop - start) * self.each_visit + stretches * self.each_stretch

    def decisions(self, leaf: Leaf, start: int, stop: int) -> int:
        """How often in these visits one choice waits for the one before."""
        return stop - start if self.each_visit else self._stretches(leaf, start, stop)

    def _stretches(self, leaf: Leaf, start: int, stop: int) -> int:
        begun = itertools.pairwise(self.stretch.cuts(leaf).tolist())
        return sum(a < stop and b > start for a, b in begun)

    def score(self, loss: Callable[..., Array], *tried: Array) -> Array:
        """The loss [n] of each of n candidates, which lie along the first axis of ``tried``."""
        return score(loss, tried, self.at_once, self.mesh)


def stretch_of(leaf: Leaf, block: Block | None) -> Stretch:
    """Visits that belong together in a sweep of a leaf, by block or one at a time."""
    if block is None:
        return stretch_of_column(leaf, MOST_UPDATES_CARRIED)
    if isinstance(block.size, int):
        return stretch_of_leaf(leaf, block.size)
    if block.size == "column":
        return Stretch(1, leaf.height)
    # Of arrays that are stacked each is a matrix of its own.
    return stretch_of_leaf(leaf, leaf.visits // leaf.stacked)


def plan_sweep(
    loss_fn: LossFn,
    params: PyTree,
    batches: PyTree,
    leaf: Leaf,
    *,
    rule: Rule,
    block: Block | None,
    evaluation: Evaluation,
    candidate_axis: CandidateAxis | None,
    memory_budget: int,
    mesh: Mesh | None,
    keyed: bool = False,
) -> tuple[ColumnProgram, Plan]:
    """The program that evaluates a leaf's candidates, and what to keep of it.

    Args:
        loss_fn: ``loss_fn(params, batch)``, a scalar.
        params: pytree of ``jax.ShapeDtypeStruct``; or of all variables of a loss, parameters first.
        batches: stack of mini-batches [M, n, ...] as arranged, likewise.
        leaf: to sweep.
        evaluation: ``"column"`` programs, the ``"full"`` loss for every candidate, or the loss
            from the leaf on, ``"cached"``.
        rule: the pieces of the search.
        block: what is decided at once, if it is not single weights.
        candidate_axis: chosen by backend and FLOPs if None.
        memory_budget: bytes that may be kept, on every device.
        mesh: devices that share the work.
        keyed: the loss takes another key at every decision, so that nothing outlives one.

    Raises:
        UserError: an acceptance, or a block's step, that returns something else than it should.
    """
    count, _ = stack_shape(batches)
    batch = one_of_stack(batches)
    if evaluation == "column":
        program = column_program(loss_fn, params, batch, leaf.position)
    elif evaluation == "cached":
        program = cached_forward_program(loss_fn, params, batch, leaf.position)
    else:
        program = full_forward_program(loss_fn, leaf.position)
    index = jax.ShapeDtypeStruct((), "int32")
    weights = jax.ShapeDtypeStruct(leaf.form[:-1], leaf.dtype)
    prefix = jax.eval_shape(program.prefix, params, batch)
    column = jax.eval_shape(program.column, params, batch, prefix, index)
    inside = (params, batch, prefix, column, index, weights)
    z = jax.eval_shape(program.preactivation, *inside)

    height, minibatches = leaf.height, rule.minibatches
    stretch = stretch_of(leaf, block)
    in_turn, in_a_column = minibatches.turn != "none", minibatches.in_a_column(count)
    in_turn = in_turn and not keyed
    turns = stretch.in_a_column(leaf) if block else height
    # Nearly all of them belong to examples, which the mesh divides.
    parts = size_of(mesh, DATA)
    prefix_bytes = count * _bytes(prefix) // parts
    column_bytes = in_a_column * _bytes(column) // parts
    z_bytes = in_a_column * _bytes(z) // parts
    keep_prefixes = in_turn and prefix_bytes <= memory_budget
    # A column of fewer decisions than mini-batches meets each at most once.
    keep_columns = (
        keep_prefixes
        and stretch.columns == 1
        and turns >= in_a_column
        and prefix_bytes + column_bytes <= memory_budget
    )
    carry = (
        bool(z)
        and block is None
        and keep_columns
        and height > UPDATES_PER_WEIGHT * in_a_column
        and prefix_bytes + column_bytes + z_bytes <= memory_budget
    )
    reuse = block is None and in_turn and in_a_column == 1 and rule.weight_decay == 0
    loss = jax.eval_shape(program.loss, *inside, z)
    candidates = 1 + check_proposal(rule.proposal, leaf.dtype)
    joint_steps, each_visit, each_stretch = 0, candidates - reuse, int(reuse)
    side_by_side, choices = each_visit, candidates
    if block:
        probed = candidates if block.probe else 1
        tried = jax.ShapeDtypeStruct((*stretch, candidates), leaf.dtype)
        losses = jax.ShapeDtypeStruct((*stretch, probed), loss.dtype)
        drift = jax.ShapeDtypeStruct(stretch, leaf.dtype)
        joint_steps = check_step(block.step, tried, losses, drift)
        each_visit, each_stretch = 0, math.prod(stretch) * (probed - 1) + 1 + joint_steps
        side_by_side = max(stretch.weights * (probed - 1), joint_steps)
        choices = each_stretch
    check_acceptance(rule.acceptance, choices, loss.dtype)
    cpu = jax.default_backend() == "cpu"
    candidate_axis = candidate_axis or candidate_axis_of(loss_fn, params, batch, mesh)
    # A visit's few candidates, or as many of a block's probes as there is surely room for.
    room = min(memory_budget, AT_ONCE_BYTES_ON_CPU) if cpu else memory_budget
    held = max(_bytes_made(program.loss, *inside, z) // parts, 1)
    at_once = max(candidates, room // held) if candidate_axis == "vmap" else 1
    return program, Plan(
        stretch=stretch,
        at_once=at_once,
        keep_prefixes=keep_prefixes,
        keep_columns=keep_columns,
        carry_preactivations=carry,
        bytes_kept=prefix_bytes * keep_prefixes + column_bytes * keep_columns + z_bytes * carry,
        reuse_incumbent=reuse,
        candidates=candidates,
        joint_steps=joint_steps,
        side_by_side=side_by_side,
        each_visit=each_visit,
        each_stretch=each_stretch,
        loss_dtype=loss.dtype,
        mesh=mesh,
    )


def prefixes_of(program: ColumnProgram, plan: Plan, params: PyTree, batches: PyTree) -> PyTree:
    """The prefix of every mini-batch [M, ...] where the plan keeps them, else nothing."""
    if not plan.keep_prefixes:
        return ()
    return jax.lax.map(lambda batch: program.prefix(params, batch), batches)


def _bytes(tree: PyTree) -> int:
    leaves: list[Array] = jax.tree.leaves(tree)
    return sum(a.size * a.dtype.itemsize for a in leaves)


def _bytes_made(function: Callable[..., Any], *arguments: Any) -> int:
    """Of all results along the way: at least what is held at any time."""
    return sum(
        _bytes([v.aval for v in e.outvars]) for e in jax.make_jaxpr(function)(*arguments).eqns
    )
