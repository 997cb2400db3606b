"""A cycle of a search, as the functions of a method: initial state, stages, visits, costs."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rso_jax.arguments import check_key, check_type, check_visits
from rso_jax.arrays import check_arrays
from rso_jax.errors import UserError
from rso_jax.incremental import Note
from rso_jax.leaves import Leaf, searched_leaves
from rso_jax.mesh import CANDIDATE, place, size_of
from rso_jax.method import Info, Stage, check_stage
from rso_jax.search.checks import check_sigma
from rso_jax.search.compiled import Compiled
from rso_jax.search.cost import SweepCost
from rso_jax.search.interface import State
from rso_jax.search.joint import Block
from rso_jax.search.objective import Variables
from rso_jax.search.plan import segment_of
from rso_jax.search.planning import Planner, signature_of
from rso_jax.search.sigma import he, he_scale, sigma_tree
from rso_jax.search.sweep import Prepared
from rso_jax.stacks import stack_shape
from rso_jax.trees import named_leaves

PyTree = Any


def begin(planner: Planner, key: Array, params: PyTree) -> State:
    """The state before the first cycle.

    Raises:
        UserError: parameters, a sigma or pieces that cannot be searched with.
    """
    check_key(key)  # today's pieces start without randomness
    check_arrays("params", params)
    settings = planner.settings
    found = searched_leaves(params, settings.searched)
    params = jax.tree.map(jnp.array if settings.donate else jnp.asarray, params)
    named = named_leaves(params).items()
    searched = zip(named, found, strict=True)
    planner.check_pieces({path: leaf.dtype for (path, leaf), is_one in searched if is_one})
    state = State(
        params=params,
        sigma=_scales(settings.sigma, params),
        cycle=jnp.zeros((), jnp.int32),
    )
    return state if settings.mesh is None else place(settings.mesh, state)


def order_stages(planner: Planner, key: Array, state: State, batches: PyTree) -> list[Stage]:
    """A stage for every leaf that the cycle sweeps, in the order in which it does.

    Raises:
        UserError: arguments that cannot be searched, before anything is compiled.
    """
    check_type("state", state, State, "init or step returned")
    settings = planner.settings
    _, _, signature = settings.take(key, state.params, batches)
    leaves, block = planner.order(key, signature), settings.block_at(state.cycle)
    planner.arranged(signature)
    if size_of(settings.mesh, CANDIDATE) > 1:
        planner.check_side_by_side(signature, leaves, block)
    return [
        Stage(leaf.path, segment_of(leaf, block).boundaries(leaf), at_once=block is not None)
        for leaf in leaves
    ]


def prepare(
    planner: Planner, compiled: Compiled, key: Array, state: State, stage: Stage, batches: PyTree
) -> Prepared:
    """What the visits of a leaf's sweep share: what they try, on which mini-batches.

    Raises:
        UserError: a stage that is none of this search, or what ``order_stages`` refuses.
    """
    check_type("state", state, State, "init or step returned")
    check_stage(stage)
    call = _drawing(planner, key, state, stage, batches)
    drawn = compiled.draw(*call.arguments, **call.named)
    # Planned here and not while it is compiled, so that what is wrong is told before.
    variables = call.variables._replace(shared=drawn.shared)
    planner.sweep(signature_of(variables, drawn.batches), call.leaf, call.block)
    prefixes = compiled.keep(variables, drawn.batches, call.leaf, call.block)
    return replace(drawn, prefixes=prefixes, path=call.leaf.path)


class _Drawing(NamedTuple):
    """The call of ``Compiled.draw`` for a stage, and what the others that follow it take."""

    arguments: tuple[Any, ...]
    named: dict[str, Any]
    variables: Variables
    leaf: Leaf
    block: Block | None


def _drawing(planner: Planner, key: Array, state: State, stage: Stage, batches: PyTree) -> _Drawing:
    settings = planner.settings
    variables, examples, signature = settings.take(key, state.params, batches)
    leaf = planner.leaf(signature, stage.name)
    planner.arranged(signature)
    arrays = jax.tree.leaves(state.params)
    arguments = (
        key,
        place(settings.mesh, np.array([leaf.position, len(arrays)], np.int32)),
        arrays[leaf.position],
        _sigma_of(planner, leaf, state),
        state.cycle,
        examples,
        variables.shared,
    )
    named = {"path": planner.asks_by_leaf(leaf.path), "axes": leaf.axes}
    return _Drawing(arguments, named, variables, leaf, settings.block_at(state.cycle))


def compile_stage(
    planner: Planner, compiled: Compiled, key: Array, state: State, stage: Stage, batches: PyTree
) -> None:
    """Compile what ``prepare`` and ``advance`` will run of a stage, and run none of it.

    Raises:
        UserError: as ``prepare``.
    """
    check_type("state", state, State, "init or step returned")
    check_stage(stage)
    call = _drawing(planner, key, state, stage, batches)
    compiled.draw.lower(*call.arguments, **call.named).compile()
    drawn = jax.eval_shape(partial(compiled.draw, **call.named), *call.arguments)
    variables = call.variables._replace(shared=drawn.shared)
    planner.sweep(signature_of(variables, drawn.batches), call.leaf, call.block)
    to_keep = variables, drawn.batches, call.leaf, call.block
    compiled.keep.lower(*to_keep).compile()
    prefixes = jax.eval_shape(
        partial(compiled.keep, leaf=to_keep[2], block=to_keep[3]), *to_keep[:2]
    )
    prepared = replace(drawn, prefixes=prefixes, path=call.leaf.path)
    visits = _visiting(planner, key, state, prepared, call.leaf, call.block, 0, stage.visits)
    compiled.visit.lower(*visits.arguments, **visits.named).compile()


def advance(
    planner: Planner,
    compiled: Compiled,
    key: Array,
    state: State,
    stage: Stage,
    prepared: Prepared,
    start: int,
    stop: int,
) -> tuple[State, Info]:
    """Visits ``start`` to ``stop - 1`` of a leaf's sweep.

    Raises:
        UserError: visits that the leaf does not have, or that cut a block; what was prepared for
            another stage.
    """
    check_type("state", state, State, "init or step returned")
    check_stage(stage)
    check_type("prepared", prepared, Prepared, "prepare returned")
    check_key(key)
    settings = planner.settings
    variables = settings.variables_of(state.params, prepared.shared, key)
    signature = signature_of(variables, prepared.batches)
    leaf, block = planner.leaf(signature, stage.name), settings.block_at(state.cycle)
    _check_prepared(prepared, leaf)
    start, stop = check_visits(leaf.path, leaf.visits, start, stop)
    if block and not {start, stop} <= set(segment_of(leaf, block).boundaries(leaf).tolist()):
        raise UserError(
            f"visits {start} to {stop} of {leaf.path} cut a block; see the stage's boundaries"
        )
    visiting = _visiting(planner, key, state, prepared, leaf, block, start, stop)
    params, treedef = jax.tree.flatten(state.params)
    params[leaf.position], done = compiled.visit(*visiting.arguments, **visiting.named)
    state = state._replace(params=jax.tree.unflatten(treedef, params))
    plan = planner.sweep(signature, leaf, block).plan
    _, batch_size = stack_shape(prepared.batches)
    evaluated = plan.evaluations(leaf, start, stop)
    return state, Info(
        loss=done.loss * (1.0 / batch_size) if settings.reduction == "sum" else done.loss,
        accepted=done.accepted,
        not_finite=done.not_finite,
        visits=stop - start,
        decisions=plan.decisions(leaf, start, stop),
        weight_updates=stop - start,
        candidates=evaluated,
        image_evaluations=evaluated * batch_size,
        choices=done.choices,
        losses=done.losses,
    )


class _Visiting(NamedTuple):
    """The call of ``Compiled.visit``."""

    arguments: tuple[Any, ...]
    named: dict[str, Any]


def _visiting(
    planner: Planner,
    key: Array,
    state: State,
    prepared: Prepared,
    leaf: Leaf,
    block: Block | None,
    start: int,
    stop: int,
) -> _Visiting:
    params, treedef = jax.tree.flatten(state.params)
    at = leaf.position
    # Only what changes goes through the call, so that the rest is not copied.
    others = [*params[:at], *params[at + 1 :]]
    between = place(planner.settings.mesh, (np.int32(start), np.int32(stop)))
    arguments = key, params[at], others, prepared, *between
    return _Visiting(arguments, {"treedef": treedef, "leaf": leaf, "block": block})


def finish(state: State) -> State:
    """The state after a cycle's last sweep.

    Raises:
        UserError: what is no state of a search.
    """
    check_type("state", state, State, "init or step returned")
    return state._replace(cycle=state.cycle + 1)


def evaluate_aux(
    planner: Planner, compiled: Compiled, key: Array, state: State, batches: PyTree
) -> PyTree:
    """What the loss returns besides its value, of the incumbent on the first mini-batch."""
    check_type("state", state, State, "init or step returned")
    variables, examples, _ = planner.settings.take(key, state.params, batches)
    assert compiled.aux is not None
    return compiled.aux(key, state.params, examples, variables.shared)


def count_cost(
    planner: Planner, params: PyTree, batches: PyTree, cycle: int = 0, key: Array | None = None
) -> list[SweepCost]:
    """What the sweeps of a cycle cost; see ``CostFn``."""
    check_arrays("params", params)
    key = jax.random.key(0) if key is None else key
    _, _, signature = planner.settings.take(key, params, batches)
    swept = planner.order(key, signature)
    leaves = [leaf for leaf in planner.leaves(signature).values() if leaf in swept]
    return planner.cost(signature, leaves, planner.settings.block_at(cycle))


def explain_dense(planner: Planner, params: PyTree, batches: PyTree) -> dict[str, list[Note]]:
    """By path, where a change of a column is no longer confined; see ``Search.why_dense``."""
    check_arrays("params", params)
    _, _, signature = planner.settings.take(jax.random.key(0), params, batches)
    return planner.why_dense(signature, list(planner.leaves(signature).values()))


def _check_prepared(prepared: Prepared, leaf: Leaf) -> None:
    """Refuse what was prepared for the sweep of another leaf.

    Raises:
        UserError: with both.
    """
    weights = prepared.candidates.shape[0]
    if (prepared.path, weights) != (leaf.path, leaf.visits):
        raise UserError(
            f"prepared is for {prepared.path}, of {weights} weights, and the stage is "
            f"{leaf.path}, of {leaf.visits}; pass what prepare returned for this stage"
        )


def _scales(sigma: Any, params: PyTree) -> PyTree:
    """The sigma of every leaf; of ``he``, which needs the loss, nothing."""
    if sigma is he:
        return ()
    scales = sigma(params) if callable(sigma) else sigma
    check_arrays("sigma", scales)
    scales = sigma_tree(scales, params)
    check_sigma(params, scales)
    return scales


def _sigma_of(planner: Planner, leaf: Leaf, state: State) -> Array:
    if planner.settings.sigma is he:
        scale = np.asarray(he_scale(leaf.axes.fan_in), leaf.dtype)
        return place(planner.settings.mesh, scale)
    return jax.tree.leaves(state.sigma)[leaf.position]
