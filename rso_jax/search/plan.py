"""The plan of a sweep: what is computed ahead and kept, and how candidates are scored."""

import itertools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
from jax import Array
from jax.sharding import Mesh

from rso_jax.candidates import (
    CandidateAxis,
    candidate_axis_of,
    count_bytes,
    evaluate_candidates,
    room_for,
)
from rso_jax.incremental import (
    ColumnProgram,
    cached_forward_program,
    column_program,
    full_forward_program,
)
from rso_jax.leaves import Leaf, LossFn, Shapes, shapes_of
from rso_jax.mesh import DATA, size_of
from rso_jax.search.contracts import check_acceptance, check_proposal, check_step
from rso_jax.search.joint import Block
from rso_jax.search.proposals import Proposal
from rso_jax.search.segments import SegmentSize, segment_of_column, segment_of_leaf
from rso_jax.search.sweep import Pieces
from rso_jax.stacks import one_of_stack, stack_shape

PyTree = Any
Evaluation = Literal["column", "cached", "full"]

# Of so few mini-batches a carried pre-activation costs little, whether it pays or not.
FEW_MINIBATCHES = 8

# While it is carried it picks up rounding: after so many updates it is computed anew.
MOST_UPDATES_CARRIED = 256


class Kept(NamedTuple):
    """What a sweep keeps instead of computing it again. The decisions are the same either way."""

    prefixes: bool
    """The prefix of every mini-batch, from before the sweep."""
    columns: bool
    """What a column leaves fixed for every mini-batch, from before its visits."""
    preactivations: bool
    """The column's pre-activation for every mini-batch too, brought up to date at its turn."""
    incumbent: bool
    """The incumbent's loss, from the visit before, which had the same mini-batch."""
    size: int
    """Bytes of the first three, on every device."""


class Counts(NamedTuple):
    """How many candidates a sweep scores."""

    candidates: int
    """Values tried of a weight, the incumbent included."""
    joint_steps: int
    """Candidates of a whole block; 0 in a sequential search."""
    side_by_side: int
    """The most that may be scored at once."""
    each_visit: int
    """Scored for every weight visited."""
    each_segment: int
    """Scored for every segment, besides."""


class Plan(NamedTuple):
    """How a sweep evaluates its candidates."""

    segment: SegmentSize
    """Visits that belong together: a block, or those between which a pre-activation is carried."""
    kept: Kept
    counts: Counts
    at_once: int
    """Candidates scored at once by a device, by ``vmap``; more are scored in turn."""
    loss_dtype: Any
    """Type of the loss."""
    mesh: Mesh | None
    """Devices that share the work; None for one."""

    def sums_weights(self, program: ColumnProgram, leaf: Leaf) -> bool:
        """Whether a pre-activation begins as the sum of what each weight adds.

        With examples last that takes a fraction of the time of a convolution with one output.
        """
        return program.examples_last and len(leaf.form) > 2 and size_of(self.mesh, DATA) == 1

    def evaluations(self, leaf: Leaf, start: int, stop: int) -> int:
        """Candidates scored in visits ``start`` to ``stop - 1`` of a leaf."""
        segments = self._segments(leaf, start, stop)
        return (stop - start) * self.counts.each_visit + segments * self.counts.each_segment

    def decisions(self, leaf: Leaf, start: int, stop: int) -> int:
        """How often in these visits one choice waits for the one before."""
        return stop - start if self.counts.each_visit else self._segments(leaf, start, stop)

    def _segments(self, leaf: Leaf, start: int, stop: int) -> int:
        begun = itertools.pairwise(self.segment.boundaries(leaf).tolist())
        return sum(a < stop and b > start for a, b in begun)

    def evaluate(self, loss: Callable[..., Array], *tried: Array) -> Array:
        """The loss [n] of each of n candidates, which lie along the first axis of ``tried``."""
        return evaluate_candidates(loss, tried, self.at_once, self.mesh)


def segment_of(leaf: Leaf, block: Block | None) -> SegmentSize:
    """Visits that belong together in a sweep of a leaf, by block or one at a time."""
    if block is None:
        return segment_of_column(leaf, MOST_UPDATES_CARRIED)
    if isinstance(block.size, int):
        return segment_of_leaf(leaf, block.size)
    if block.size == "column":
        return SegmentSize(1, leaf.height)
    # Of arrays that are stacked each is a matrix of its own.
    return segment_of_leaf(leaf, leaf.visits // leaf.stacked)


def program_of(
    evaluation: Evaluation,
    loss_fn: LossFn,
    params: PyTree,
    batch: PyTree,
    leaf: Leaf,
    twice: PyTree | None = None,
) -> ColumnProgram:
    """The program that evaluates the candidates of a leaf.

    Args:
        evaluation: ``"column"`` programs, the ``"full"`` loss for every candidate, or the loss
            from the leaf on, ``"cached"``.
        loss_fn: ``loss_fn(params, batch)``, a scalar.
        params: pytree of ``jax.ShapeDtypeStruct``; or of all variables of a loss, parameters first.
        batch: one mini-batch, likewise.
        leaf: to sweep.
        twice: a mini-batch of twice the examples, which tells where these lie; None if the loss
            takes no such one.
    """
    if evaluation == "full":
        return full_forward_program(loss_fn, leaf.position)
    if evaluation == "cached":
        return cached_forward_program(loss_fn, params, batch, leaf.position)
    both = None if twice is None else (params, twice)
    return column_program(loss_fn, params, batch, leaf.position, twice=both)


def plan_sweep(
    program: ColumnProgram,
    params: PyTree,
    batches: PyTree,
    leaf: Leaf,
    *,
    pieces: Pieces,
    proposal: Proposal,
    block: Block | None,
    candidate_axis: CandidateAxis | None,
    memory_budget: int,
    mesh: Mesh | None,
    keyed: bool = False,
) -> Plan:
    """How the candidates of a leaf are evaluated.

    Args:
        program: that evaluates them.
        params: as of ``program_of``.
        batches: stack of mini-batches [M, n, ...] as arranged, likewise.
        leaf: to sweep.
        pieces: of the search.
        proposal: of the leaf.
        block: what is decided at once, if it is not single weights.
        candidate_axis: chosen by backend and FLOPs if None.
        memory_budget: bytes that may be kept, on every device.
        mesh: devices that share the work.
        keyed: the loss takes another key at every decision, so that nothing outlives one.

    Raises:
        UserError: an acceptance, or a block's step, that returns something else than it should.
    """
    batch = one_of_stack(batches)
    shapes = shapes_of(program, params, batch, leaf)
    segment = segment_of(leaf, block)
    kept = _keep(shapes, leaf, segment, batches, pieces, block, memory_budget, mesh, keyed)
    counts = _count(pieces, proposal, leaf, segment, block, kept, shapes.loss)
    axis = candidate_axis or candidate_axis_of(program.whole, params, batch, mesh)
    # A visit's few candidates, or as many of a block's probes as there is surely room for.
    room = room_for(memory_budget, mesh, program.loss, shapes.view, shapes.weights, shapes.z)
    return Plan(
        segment=segment,
        kept=kept,
        counts=counts,
        at_once=max(counts.candidates, room) if axis == "vmap" else 1,
        loss_dtype=shapes.loss.dtype,
        mesh=mesh,
    )


def _keep(
    shapes: Shapes,
    leaf: Leaf,
    segment: SegmentSize,
    batches: PyTree,
    pieces: Pieces,
    block: Block | None,
    memory_budget: int,
    mesh: Mesh | None,
    keyed: bool,
) -> Kept:
    """What is worth keeping, within the budget."""
    count, _ = stack_shape(batches)
    in_a_column = pieces.minibatches.in_a_column(count)
    in_turn = pieces.minibatches.turn != "none" and not keyed
    # Nearly all bytes belong to examples, which the mesh divides.
    parts = size_of(mesh, DATA)
    of_prefixes = count * count_bytes(shapes.view.prefix) // parts
    of_columns = in_a_column * count_bytes(shapes.view.column) // parts
    of_z = in_a_column * count_bytes(shapes.z) // parts
    prefixes = in_turn and of_prefixes <= memory_budget
    # A column of fewer decisions than mini-batches meets each at most once.
    decisions = segment.in_a_column(leaf) if block else leaf.height
    columns = (
        prefixes
        and segment.columns == 1
        and decisions >= in_a_column
        and of_prefixes + of_columns <= memory_budget
    )
    preactivations = (
        bool(shapes.z)
        and block is None
        and columns
        and _carrying_pays(segment, leaf, in_a_column)
        and of_prefixes + of_columns + of_z <= memory_budget
    )
    return Kept(
        prefixes=prefixes,
        columns=columns,
        preactivations=preactivations,
        incumbent=block is None and in_turn and in_a_column == 1 and pieces.weight_decay == 0,
        size=of_prefixes * prefixes + of_columns * columns + of_z * preactivations,
    )


def _carrying_pays(segment: SegmentSize, leaf: Leaf, in_a_column: int) -> bool:
    """Whether a carried pre-activation costs less than one computed anew at every visit.

    Carried, it is computed for every mini-batch at the start of a segment, and each visit's change
    enters all of them, which takes about as long as one weight's share of computing them.
    """
    if in_a_column <= FEW_MINIBATCHES:
        return leaf.height > in_a_column
    return in_a_column * (1 + segment.weights / leaf.height) < segment.weights


def _count(
    pieces: Pieces,
    proposal: Proposal,
    leaf: Leaf,
    segment: SegmentSize,
    block: Block | None,
    kept: Kept,
    loss: Any,
) -> Counts:
    """How many candidates are scored, once proposal, acceptance and step are checked."""
    candidates = 1 + check_proposal(proposal, leaf.dtype)
    if block is None:
        check_acceptance(pieces.acceptance, candidates, loss.dtype)
        each = candidates - kept.incumbent
        return Counts(candidates, 0, each, each, int(kept.incumbent))
    probed = candidates if block.probe else 1
    tried = jax.ShapeDtypeStruct((*segment, candidates), leaf.dtype)
    losses = jax.ShapeDtypeStruct((*segment, probed), loss.dtype)
    joint_steps = check_step(block.step, tried, losses)
    each_segment = math.prod(segment) * (probed - 1) + 1 + joint_steps
    check_acceptance(pieces.acceptance, each_segment, loss.dtype)
    side_by_side = max(segment.weights * (probed - 1), joint_steps)
    return Counts(candidates, joint_steps, side_by_side, 0, each_segment)
