"""Staging: the columns of a leaf, made ready to be probed in any way."""

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import jax
from jax import Array

from rso_jax.incremental import ColumnProgram, count_work
from rso_jax.incremental.program import stage_column
from rso_jax.incremental.tracing import TracedColumn, trace_column
from rso_jax.leaves import Leaf, Shapes, loss_of_columns, shapes_of, with_columns
from rso_jax.slopes.column import Meeting, Size
from rso_jax.slopes.examples import example_axes
from rso_jax.slopes.forward import Part
from rso_jax.slopes.positions import (
    PositionProgram,
    Traced,
    find_meeting,
    position_program,
)
from rso_jax.stacks import either

PyTree = Any

FLOPS_PER_BYTE = 4
"""What a processor computes while it reads or writes a byte; evaluations are short of memory."""


@dataclass(frozen=True)
class LossesOfPart:
    """The losses of a leaf alone as a function of it and of what is known."""

    leaf: Leaf
    one: Part
    more: Part | None
    """The same for a mini-batch of twice the size."""

    @property
    def params(self) -> tuple[Any, ...]:
        """The shape of the one parameter that there is, in its column form."""
        return with_columns((jax.ShapeDtypeStruct(self.leaf.shape, self.leaf.dtype),), self.leaf)

    def evaluate(self, params: tuple[Array], known: tuple[Array, ...]) -> Array:
        """The losses for a mini-batch of either size."""
        if self.more is None:
            return self.one.losses(params, known)
        return either(self.one.losses, self.more.losses, self.one.known())(params, known)

    def trace(self, part: Part, *, to_products: bool) -> TracedColumn:
        """A column of the leaf for what is known in one of the parts."""
        return trace_column(
            loss_of_columns(self.evaluate, self.leaf),
            self.params,
            part.known(),
            0,
            from_incumbent=True,
            to_products=to_products,
        )

    def stage(
        self, part: Part, one: TracedColumn, twice: TracedColumn | None = None
    ) -> tuple[ColumnProgram, Shapes]:
        """The program of the columns for what is known in one of the parts."""
        program = stage_column(one, twice)
        return program, shapes_of(program, self.params, part.known(), self.leaf)


@dataclass(frozen=True)
class StagedLeaf:
    """The columns of a leaf, traced for a mini-batch and for one of twice the size."""

    leaf: Leaf
    losses: LossesOfPart
    one: Traced
    twice: Traced | None
    """None where its loss is of no other number of examples."""
    traced: tuple[TracedColumn, TracedColumn | None]
    """What both were staged from, to products."""
    examples: int
    """In the mini-batch."""

    @property
    def size(self) -> Size:
        """What its probes are counted from."""
        axes, z, loss = self.one.axes, self.one.shapes.z, self.one.shapes.loss.shape
        positions = sum(math.prod(a.shape) for a in z) // self.examples if axes else 0
        both = self.twice is not None and (loss[:1], self.twice.shapes.loss.shape[:1])
        credited = both == ((self.examples,), (2 * self.examples,))
        tokens = math.prod(loss[1:])
        meeting, price = (lambda: self.meeting), cache(self.price)
        return Size(self.leaf.height, positions, credited, tokens, meeting, price)

    @cached_property
    def positions(self) -> PositionProgram:
        """The program of one position at a time."""
        assert self.twice is not None
        return position_program(self.one, self.twice)

    @cached_property
    def meeting(self) -> Meeting:
        """Where examples meet in what follows from a pre-activation."""
        owned = self.twice is not None and self.one.axes
        return find_meeting(self.one, self.twice) if owned and self.twice else "nowhere"

    def price(self, moves: str) -> float:
        """What an evaluation takes that moves weights, nodes or positions; see ``Size``."""
        if moves == "positions":
            work = self.positions.count_work(self.one)
        else:
            work = count_work(self.one.program.loss, *self.one.shapes[:3])
        return work.flops / FLOPS_PER_BYTE + work.bytes

    def lay_out(self, *, to_products: bool) -> tuple[ColumnProgram, Shapes]:
        """The program with examples last, on a CPU and where that can be told."""
        losses, on_cpu = self.losses, jax.default_backend() == "cpu"
        more = losses.more if on_cpu else None
        if to_products:
            one, twice = self.traced
            return losses.stage(losses.one, one, twice if on_cpu else None)
        traced = [losses.trace(part, to_products=False) for part in (losses.one, more) if part]
        return losses.stage(losses.one, *traced)


def stage_leaf(leaf: Leaf, part: Part, more: Part | None, examples: int) -> StagedLeaf:
    """Stage the columns of a leaf.

    Args:
        leaf: whose columns these are.
        part: of its loss.
        more: the same for a mini-batch of twice the size; None where there is none.
        examples: in the mini-batch.
    """
    alone = leaf._replace(position=0)  # the one parameter that there is
    same = more is not None and len(more.takes) == len(part.takes)
    losses = LossesOfPart(alone, part, more if same else None)
    traced_one = losses.trace(part, to_products=True)
    one = Traced(*losses.stage(part, traced_one), ())
    if losses.more is None:
        return StagedLeaf(leaf, losses, one, None, (traced_one, None), examples)
    traced_twice = losses.trace(losses.more, to_products=True)
    twice = Traced(*losses.stage(losses.more, traced_twice), ())
    axes = _axes_of_examples(one, twice, examples)
    both = one._replace(axes=axes), twice._replace(axes=axes)
    return StagedLeaf(leaf, losses, *both, (traced_one, traced_twice), examples)


def _axes_of_examples(one: Traced, twice: Traced, examples: int) -> tuple[int, ...]:
    """The axes of examples in every pre-activation; none where some are no example's own."""
    if len(one.shapes.z) != len(twice.shapes.z):
        return ()
    found = example_axes(one.shapes.z, twice.shapes.z, examples)
    axes = tuple(axis for axis in found if axis is not None)
    return axes if len(axes) == len(found) and not _reads_weights(*one[:2]) else ()


def _reads_weights(program: ColumnProgram, shapes: Shapes) -> bool:
    """Whether the loss depends on the weights otherwise than through z."""
    traced = jax.make_jaxpr(program.loss)(shapes.view, shapes.weights, shapes.z).jaxpr
    weights = traced.invars[len(jax.tree.leaves(shapes.view))]
    return any(weights in eqn.invars for eqn in traced.eqns)
