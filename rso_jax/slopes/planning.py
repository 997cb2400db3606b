"""Planning: how the slopes of every leaf are learned, before anything is computed."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.arrays import kind_of, structs_of
from rso_jax.candidates import calls_one_at_a_time, room_for
from rso_jax.errors import UserError
from rso_jax.incremental import ColumnProgram
from rso_jax.leaves import (
    Leaf,
    LookAhead,
    Outputs,
    Shapes,
    all_losses,
    describe_leaves,
    losses_of_leaves,
)
from rso_jax.slopes.biases import find_biases
from rso_jax.slopes.column import Size
from rso_jax.slopes.examples import LossesFn
from rso_jax.slopes.forward import Forward, Part, part_of_leaf, trace_forward
from rso_jax.slopes.positions import PositionProgram
from rso_jax.slopes.probes import Moves, Probes, cheapest
from rso_jax.slopes.staging import StagedLeaf, stage_leaf
from rso_jax.stacks import count_examples, traced_twice

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
    part: Part
    """Of its loss, which is a function of the leaf and of known arrays."""
    program: ColumnProgram
    """Of that function, whose parameters are the leaf in its column form."""
    shapes: Shapes
    """Of what the program computes."""
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


class Plan(NamedTuple):
    """How the slopes of all searched leaves are learned."""

    forward: Forward
    leaves: list[LeafPlan]

    @property
    def evaluations(self) -> int:
        """Evaluations of an estimate, that of the value among them."""
        return 1 + sum(plan.evaluations * plan.leaf.columns for plan in self.leaves)


TRACED_BY = ("jax_enable_x64", "jax_default_matmul_precision")
"""Options of JAX that decide what a trace holds."""
MakePlan = Callable[[PyTree, PyTree], Plan]
"""``(params, batch)``: how their slopes are learned."""


def planner(settings: Settings) -> MakePlan:
    """``plan_leaves`` of these settings, made once for arguments of the same shapes and types."""

    @cache
    def plan_structs(treedef: Any, structs: tuple[Any, ...], *traced_by: Any) -> Plan:
        return plan_leaves(settings, *jax.tree.unflatten(treedef, structs))

    def plan(params: PyTree, batch: PyTree) -> Plan:
        structs, treedef = jax.tree.flatten(structs_of((params, batch)))
        return plan_structs(treedef, tuple(structs), *(getattr(jax.config, o) for o in TRACED_BY))

    return plan


def plan_leaves(settings: Settings, params: PyTree, batch: PyTree) -> Plan:
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
    in_turn = calls_one_at_a_time(settings.losses_fn, params, batch)
    forward = trace_forward(settings.losses_fn, params, batch)
    twice = traced_twice(partial(trace_forward, settings.losses_fn, params), batch)
    examples = count_examples(batch)

    def plan_leaf(leaf: Leaf) -> LeafPlan:
        name = names[leaf.path]
        one = part_of_leaf(forward, leaf.position, name)
        more = None if twice is None else part_of_leaf(twice, leaf.position, name)
        staged = stage_leaf(leaf, one, more, examples)
        return _plan_leaf(settings, staged, in_turn)._replace(loss=name)

    plans = {leaf.position: plan_leaf(leaf) for leaf in leaves if leaf.position not in added_to}
    for leaf in leaves:
        of = plans.get(added_to.get(leaf.position, -1))
        if of is not None and of.moves != "weights":
            plans[of.leaf.position] = of._replace(biases=(*of.biases, leaf))
        elif leaf.position in added_to:
            plans[leaf.position] = plan_leaf(leaf)
    return Plan(forward, [plans[leaf.position] for leaf in leaves if leaf.position in plans])


def _of_one_loss(
    biases: dict[int, int], leaves: Sequence[Leaf], names: dict[str, str]
) -> dict[int, int]:
    """Biases by position that have the loss of those they are added to."""
    paths = {leaf.position: leaf.path for leaf in leaves}
    return {b: w for b, w in biases.items() if names[paths[b]] == names[paths[w]]}


def _plan_leaf(settings: Settings, staged: StagedLeaf, in_turn: bool) -> LeafPlan:
    """How the slopes of a leaf are learned.

    Args:
        settings: of the estimate.
        staged: the leaf's columns.
        in_turn: whether evaluations are made one at a time.
    """
    leaf, size = staged.leaf, staged.size
    probes = _probes_of(settings, leaf)
    evaluations = probes.evaluations(size)
    if evaluations is None:
        fixed = "" if staged.twice else ", of losses that cannot be traced for more examples"
        raise UserError(
            f"{leaf.path} cannot be probed in this way{fixed}; use cheapest(), or add weights() to "
            "it"
        )
    room = partial(_room, settings, in_turn)
    moves, one = probes.moves(size), staged.one
    if moves == "positions":
        each = staged.positions
        return LeafPlan(
            leaf=leaf,
            part=staged.losses.one,
            program=one.program,
            shapes=one.shapes,
            probes=probes,
            size=size,
            axes=one.axes,
            evaluations=evaluations,
            at_once=room(each.program.loss, *each.shapes(one)),
            positions=each,
        )
    program, shapes = staged.lay_out(to_products=moves == "nodes")
    where = tuple(a.ndim - 1 for a in shapes.z) if program.examples_last else one.axes
    return LeafPlan(
        leaf=leaf,
        part=staged.losses.one,
        program=program,
        shapes=shapes,
        probes=probes,
        size=size,
        axes=where if moves == "nodes" else (),
        evaluations=evaluations,
        at_once=room(program.loss, shapes.view, shapes.weights, shapes.z),
    )


def _room(settings: Settings, in_turn: bool, loss: Callable[..., Array], *shapes: PyTree) -> int:
    """How many evaluations there is room for side by side."""
    if in_turn:
        return 1
    found = room_for(settings.memory_budget, None, loss, *shapes, on_cpu=AT_ONCE_BYTES_ON_CPU)
    return max(found, 1)


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
