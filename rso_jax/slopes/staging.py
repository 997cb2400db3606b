"""Staging: the columns of a leaf, made ready to be probed in any way."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
from jax import Array

from rso_jax.incremental import ColumnProgram, column_program, count_work
from rso_jax.leaves import Leaf, Shapes, loss_of_columns, shapes_of, with_columns
from rso_jax.slopes.column import Size
from rso_jax.slopes.examples import example_axes
from rso_jax.slopes.forward import Part
from rso_jax.slopes.positions import (
    Meeting,
    PositionProgram,
    Traced,
    find_meeting,
    position_program,
)

PyTree = Any

FLOPS_PER_BYTE = 4
"""What a processor computes while it reads or writes a byte; evaluations are short of memory."""


class StagedLeaf(NamedTuple):
    """The columns of a leaf, traced for a mini-batch and for one of twice the size."""

    leaf: Leaf
    part: Part
    size: Size
    one: Traced
    twice: Traced | None
    """None where its loss is of no other number of examples."""
    positions: Callable[[], PositionProgram]
    """Staged where they are asked for."""
    laid_out: Callable[..., tuple[ColumnProgram, Shapes]]
    """``(to_products=)``: the program with examples last, where that is faster."""


def stage_leaf(leaf: Leaf, part: Part, more: Part | None, examples: int) -> StagedLeaf:
    """Stage the columns of a leaf.

    Args:
        leaf: whose columns these are.
        part: of its loss.
        more: the same for a mini-batch of twice the size; None where there is none.
        examples: in the mini-batch.
    """
    alone = leaf._replace(position=0)  # the one parameter that there is
    stored = (jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),)
    params, known = with_columns(stored, alone), part.known()

    def losses(params: tuple[Array], given: tuple[Array, ...]) -> Array:
        shapes = [a.shape for a in given]
        own = part if more is None or shapes == [a.shape for a in known] else more
        return own.losses(params, given)

    of_columns = loss_of_columns(losses, alone)

    def trace(known: tuple[Any, ...], **how: Any) -> tuple[ColumnProgram, Shapes]:
        program = column_program(of_columns, params, known, 0, from_incumbent=True, **how)
        return program, shapes_of(program, params, known, alone)

    def lay_out(to_products: bool) -> tuple[ColumnProgram, Shapes]:
        on_cpu = jax.default_backend() == "cpu"
        also = (params, more.known()) if on_cpu and more is not None else None
        return trace(known, to_products=to_products, twice=also)

    one = Traced(*trace(known, to_products=True), ())
    twice = None
    if more is not None and len(more.takes) == len(part.takes):
        twice = Traced(*trace(more.known(), to_products=True), ())
    axes = _axes_of_examples(one, twice, examples)

    @cache
    def positions() -> PositionProgram:
        assert twice is not None
        return position_program(one._replace(axes=axes), twice._replace(axes=axes))

    @cache
    def price(moves: str) -> float:
        if moves == "positions":
            work = positions().count_work(one._replace(axes=axes))
        else:
            work = count_work(one.program.loss, *one.shapes[:3])
        return work.flops / FLOPS_PER_BYTE + work.bytes

    @cache
    def meeting() -> Meeting:
        if twice is None or not axes:
            return "nowhere"
        return find_meeting(one._replace(axes=axes), twice._replace(axes=axes))

    count = sum(math.prod(a.shape) for a in one.shapes.z) // examples if axes else 0
    credited = twice is not None and (one.shapes.loss.shape[:1], twice.shapes.loss.shape[:1]) == (
        (examples,),
        (2 * examples,),
    )
    size = Size(leaf.height, count, credited, math.prod(one.shapes.loss.shape[1:]), meeting, price)
    return StagedLeaf(leaf, part, size, one._replace(axes=axes), twice, positions, lay_out)


def _axes_of_examples(one: Traced, twice: Traced | None, examples: int) -> tuple[int, ...]:
    """The axes of examples in every pre-activation; none where some are no example's own."""
    if twice is None or len(one.shapes.z) != len(twice.shapes.z):
        return ()
    found = example_axes(one.shapes.z, twice.shapes.z, examples)
    axes = tuple(axis for axis in found if axis is not None)
    return axes if len(axes) == len(found) and not _reads_weights(*one[:2]) else ()


def _reads_weights(program: ColumnProgram, shapes: Shapes) -> bool:
    """Whether the loss depends on the weights otherwise than through z."""
    traced = jax.make_jaxpr(program.loss)(shapes.view, shapes.weights, shapes.z).jaxpr
    weights = traced.invars[len(jax.tree.leaves(shapes.view))]
    return any(weights in eqn.invars for eqn in traced.eqns)
