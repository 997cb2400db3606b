"""Planning: how the slopes of every leaf are learned, before anything is computed."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.arrays import kind_of, structs_of
from rso_jax.candidates import calls_one_at_a_time, room_for
from rso_jax.errors import UserError
from rso_jax.incremental import ColumnProgram, column_program
from rso_jax.leaves import (
    Leaf,
    LookAhead,
    Outputs,
    Shapes,
    all_losses,
    describe_leaves,
    loss_of_columns,
    losses_of_leaves,
    remember_traces,
    shapes_of,
    with_columns,
)
from rso_jax.slopes.biases import find_biases
from rso_jax.slopes.column import Size
from rso_jax.slopes.examples import LossesFn, example_axes, with_twice_the_examples
from rso_jax.slopes.positions import PositionProgram, Traced, position_program
from rso_jax.slopes.probes import Moves, Probes, cheapest
from rso_jax.stacks import count_examples

PyTree = Any

ProbesOfLeaves = Probes | Callable[[str], Probes]
"""Probes of all leaves alike, or of each by its path."""

# Of all results along the way, few of which are there at a time: then those stay in the caches.
# Chosen by the seconds of an MLP's step.
AT_ONCE_BYTES_ON_CPU = 2**18


class Settings(NamedTuple):
    """What slopes are estimated by; as the arguments of ``value_and_slopes``."""

    losses_fn: LossesFn
    probes: ProbesOfLeaves | None
    """``cheapest()`` where none are given."""
    searched: Callable[[str], bool] | PyTree | None
    outputs: Outputs | None
    memory_budget: int
    look_ahead: LookAhead = 0


class LeafPlan(NamedTuple):
    """How the slopes of a leaf are learned."""

    leaf: Leaf
    program: ColumnProgram
    probes: Probes
    size: Size
    """Of each of its columns."""
    axes: tuple[int, ...]
    """Of examples in its pre-activations; empty where these are not probed."""
    evaluations: int
    """For a column."""
    at_once: int
    """Evaluations side by side."""
    positions: PositionProgram | None = None
    """Of losses with z moved at one position, where evaluations do that."""
    biases: tuple[Leaf, ...] = ()
    """Leaves whose slopes follow from the same probes."""
    loss: str = ""
    """Name of the loss that the slopes are of; empty where there is but one."""

    @property
    def moves(self) -> Moves:
        """What an evaluation moves."""
        return self.probes.moves(self.size)


def plan_leaves(settings: Settings, params: PyTree, batch: PyTree) -> list[LeafPlan]:
    """How the slopes of every searched leaf are learned, biases with those they are added to.

    Nothing is computed.

    Args:
        settings: of the estimate.
        params: arrays or ``jax.ShapeDtypeStruct``.
        batch: one mini-batch, likewise.

    Raises:
        UserError: nothing to search, or a leaf that the probes cannot tell the slopes of, or that
            none of several losses depends on.
    """
    params, batch = structs_of((params, batch))
    losses_fn = all_losses(settings.losses_fn)

    def mean_losses(params: PyTree, batch: PyTree) -> list[Array]:
        return [jnp.mean(losses) for losses in losses_fn(params, batch)]

    told = settings.searched, settings.outputs
    leaves = describe_leaves(mean_losses, params, batch, *told)
    names = losses_of_leaves(settings.losses_fn, params, batch, leaves, settings.look_ahead)
    added_to = _of_one_loss(find_biases(losses_fn, params, batch, leaves), leaves, names)
    more = _more_examples(settings.losses_fn, params, batch)
    in_turn = calls_one_at_a_time(settings.losses_fn, params, batch)

    losses_named = remember_traces(settings.losses_fn)

    def plan_leaf(leaf: Leaf) -> LeafPlan:
        name = names[leaf.path]
        of_one = settings._replace(losses_fn=losses_named(name))
        plan = _plan_leaf(of_one, params, batch, more, in_turn, leaf)
        return plan._replace(loss=name)

    plans = {leaf.position: plan_leaf(leaf) for leaf in leaves if leaf.position not in added_to}
    for leaf in leaves:
        of = plans.get(added_to.get(leaf.position, -1))
        if of is not None and of.moves != "weights":
            plans[of.leaf.position] = of._replace(biases=(*of.biases, leaf))
        elif leaf.position in added_to:
            plans[leaf.position] = plan_leaf(leaf)
    return [plans[leaf.position] for leaf in leaves if leaf.position in plans]


def _of_one_loss(
    biases: dict[int, int], leaves: Sequence[Leaf], names: dict[str, str]
) -> dict[int, int]:
    """Biases by position that have the loss of those they are added to."""
    paths = {leaf.position: leaf.path for leaf in leaves}
    return {b: w for b, w in biases.items() if names[paths[b]] == names[paths[w]]}


def count_evaluations(plans: Sequence[LeafPlan]) -> int:
    """Evaluations of an estimate, that of the value among them."""
    return 1 + sum(plan.evaluations * plan.leaf.columns for plan in plans)


def _plan_leaf(
    settings: Settings,
    params: PyTree,
    batch: PyTree,
    more: PyTree | None,
    in_turn: bool,
    leaf: Leaf,
) -> LeafPlan:
    """How the slopes of a leaf are learned.

    Args:
        settings: of the estimate, of the leaf's loss alone.
        params: shapes.
        batch: likewise.
        more: of a mini-batch of twice the size; None where there is none.
        in_turn: whether evaluations are made one at a time.
        leaf: one of the searched.
    """
    losses, by_columns = loss_of_columns(settings.losses_fn, leaf), with_columns(params, leaf)
    size, one, twice = _size_columns(losses, by_columns, batch, more, leaf)
    probes = _probes_of(settings, leaf)
    evaluations = probes.evaluations(size)
    if evaluations is None:
        fixed = "" if more is not None else ", of losses that cannot be traced for more examples"
        raise UserError(
            f"{leaf.path} cannot be probed in this way{fixed}; use cheapest(), or add weights() to "
            "it"
        )
    room = partial(_room, settings, in_turn)
    moves = probes.moves(size)
    if moves == "positions":
        assert twice is not None
        each = position_program(one, twice)
        at_once = room(each.program.loss, *each.shapes(one))
        return LeafPlan(leaf, one.program, probes, size, one.axes, evaluations, at_once, each)
    # Of weights that are moved the means and pools of z that follow need not be computed again.
    nodes = moves == "nodes"
    on_cpu = jax.default_backend() == "cpu"
    laid_out = (by_columns, more) if on_cpu and more is not None else None
    program, shapes = _trace(losses, by_columns, batch, leaf, to_products=nodes, twice=laid_out)
    where = [a.ndim - 1 for a in shapes.z] if program.examples_last else one.axes
    at_once = room(program.loss, shapes.view, shapes.weights, shapes.z)
    axes = tuple(where) if nodes else ()
    return LeafPlan(leaf, program, probes, size, axes, evaluations, at_once)


def _room(settings: Settings, in_turn: bool, loss: Callable[..., Array], *shapes: PyTree) -> int:
    """How many evaluations there is room for side by side."""
    if in_turn:
        return 1
    found = room_for(settings.memory_budget, None, loss, *shapes, on_cpu=AT_ONCE_BYTES_ON_CPU)
    return max(found, 1)


def _more_examples(losses_fn: LossesFn, params: PyTree, batch: PyTree) -> PyTree | None:
    """A mini-batch of twice the size; None where the losses are of no other number of examples."""
    more = with_twice_the_examples(batch)
    try:
        jax.eval_shape(losses_fn, params, more)
    except Exception:  # whatever it is that a function raises whose shapes do not fit
        return None
    return more


def _size_columns(
    losses: LossesFn, params: PyTree, batch: PyTree, more: PyTree | None, leaf: Leaf
) -> tuple[Size, Traced, Traced | None]:
    """What probes of a leaf are counted from; its columns traced for one mini-batch, and for more.

    Args:
        losses: of columns.
        params: with the leaf in its column form.
        batch: one mini-batch.
        more: one of twice the size; None where there is none.
        leaf: whose columns these are.
    """
    examples = count_examples(batch)
    one = Traced(*_trace(losses, params, batch, leaf, to_products=True), ())
    tokens = math.prod(one.shapes.loss.shape[1:])
    if more is None:
        return Size(leaf.height, 0, credited=False, tokens=tokens), one, None
    twice = Traced(*_trace(losses, params, more, leaf, to_products=True), ())
    arrays = one.shapes.z, twice.shapes.z
    found = example_axes(*arrays, examples) if len(arrays[0]) == len(arrays[1]) else []
    axes = tuple(axis for axis in found if axis is not None)
    owned = len(axes) == len(arrays[0]) > 0 and not _reads_weights(*one[:2])
    positions = sum(math.prod(a.shape) for a in arrays[0]) // examples if owned else 0
    first = one.shapes.loss.shape[:1], twice.shapes.loss.shape[:1]
    credited = first == ((examples,), (2 * examples,))
    size = Size(leaf.height, positions, credited, tokens)
    return size, one._replace(axes=axes), twice._replace(axes=axes)


def check_probes(probes: Any) -> None:
    """Refuse what is neither probes nor a function that gives those of a path.

    Raises:
        UserError: what it is.
    """
    if probes is not None and not isinstance(probes, Probes) and not callable(probes):
        raise UserError(
            f"probes is {kind_of(probes)}; pass those that a function of rso_jax.slopes.probes "
            "makes, as nodes(), or a function of a path that returns them"
        )


def _probes_of(settings: Settings, leaf: Leaf) -> Probes:
    probes = settings.probes or cheapest()
    found = probes if isinstance(probes, Probes) else probes(leaf.path)
    if not isinstance(found, Probes):
        raise UserError(
            f"the probes of {leaf.path} are {kind_of(found)}; pass those that a function of "
            "rso_jax.slopes.probes makes, as nodes()"
        )
    return found


def _trace(
    losses: LossesFn,
    params: PyTree,
    batch: PyTree,
    leaf: Leaf,
    *,
    to_products: bool,
    twice: tuple[PyTree, PyTree] | None = None,
) -> tuple[ColumnProgram, Shapes]:
    program = column_program(
        losses,
        params,
        batch,
        leaf.position,
        from_incumbent=True,
        to_products=to_products,
        twice=twice,
    )
    return program, shapes_of(program, params, batch, leaf)


def _reads_weights(program: ColumnProgram, shapes: Shapes) -> bool:
    """Whether the loss depends on the weights otherwise than through z."""
    traced = jax.make_jaxpr(program.loss)(shapes.view, shapes.weights, shapes.z).jaxpr
    weights = traced.invars[len(jax.tree.leaves(shapes.view))]
    return any(weights in eqn.invars for eqn in traced.eqns)
