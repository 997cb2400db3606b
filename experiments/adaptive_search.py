"""Searches whose cost depends on what they see, for comparison in ``search_variants.py``.

Racing stops an evaluation as soon as it is clear which candidates are better than the incumbent;
revisiting gives the weights that gained most another visit; adapting widens the steps of weights
that were moved and narrows those of the others. Sequential RSO (preset ``authors_code``) otherwise,
of a loss that sums over the mini-batch.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from rso_jax import presets, rso
from rso_jax.incremental import column_program, move
from rso_jax.leaves import describe_leaves
from rso_jax.method import Info, Method, Stage
from rso_jax.search import State, keys
from rso_jax.search.acceptance import greedy
from rso_jax.search.objective import Variables, take_apart
from rso_jax.search.plan import plan_sweep
from rso_jax.search.proposals import normal
from rso_jax.search.sigma import he
from rso_jax.search.sweep import Pieces, prepare_sweep
from rso_jax.search.traversal import (
    Columns,
    Done,
    Segment,
    Sweep,
    begin_sweep,
    open_view,
    traverse,
    view_minibatch,
)
from rso_jax.stacks import one_of_stack, stack_shape

PyTree = Any
CANDIDATES = 3


class Race(NamedTuple):
    """When the loss of a candidate is known well enough."""

    least: int
    """Parts of the mini-batch evaluated in any case."""
    most: int
    """Parts there are."""
    clear: float
    """Standard errors that the mean difference to the incumbent must differ from 0 by."""


class Raced(NamedTuple):
    """What a race carries on besides, by the number of the visit."""

    wanted: Array
    """Which weights are visited, booleans [visits]."""
    gains: Array
    """What each visit lowered the loss by, on its part of the mini-batch [visits]."""
    looked: Array
    """Parts evaluated, integer scalar."""


def racing(loss_fn: Callable, cycles: int, race: Race) -> Method:
    """Sequential search that looks at a mini-batch part by part until the decision is clear."""
    search = rso(loss_fn, reduction="sum", **presets.authors_code(cycles))
    sweep = _sweep_of(loss_fn, cycles, race)

    def advance(
        key: Array, state: State, stage: Stage, batches: PyTree, start: int, stop: int
    ) -> tuple[State, Info]:
        parts = jax.tree.map(partial(_in_parts, race), batches)
        everything = jnp.ones(stage.visits, bool)
        state, loss, accepted, raced = sweep(key, state, parts, everything, stage.name)
        looked = int(raced.looked)
        return state, _info(loss, accepted, stage.visits, looked, stack_shape(parts)[1])

    return _in_one_piece(search, prepare=_hand_on, advance=advance)


def revisiting(loss_fn: Callable, cycles: int, share: float) -> Method:
    """Sequential search that, after each sweep, visits a share of its weights once more.

    Those whose visit lowered the loss of its mini-batch most.
    """
    search = rso(loss_fn, reduction="sum", **presets.authors_code(cycles))
    sweep = _sweep_of(loss_fn, cycles, Race(1, 1, 0.0))

    def advance(
        key: Array, state: State, stage: Stage, batches: PyTree, start: int, stop: int
    ) -> tuple[State, Info]:
        everything, again = jnp.ones(stage.visits, bool), max(1, int(share * stage.visits))
        first = jax.random.fold_in(key, 0)
        state, loss, accepted, raced = sweep(first, state, batches, everything, stage.name)
        most = jnp.argsort(-raced.gains)[:again]
        gainers = jnp.zeros(stage.visits, bool).at[most].set(True)
        second = jax.random.fold_in(key, 1)
        state, _, changed, _ = sweep(second, state, batches, gainers, stage.name)
        visits = stage.visits + again
        return state, _info(loss, accepted + changed, visits, visits, stack_shape(batches)[1])

    return _in_one_piece(search, prepare=_hand_on, advance=advance)


def adapting(loss_fn: Callable, cycles: int, widen: float, narrow: float) -> Method:
    """Sequential search with a sigma for each weight, by whether its last visit moved it."""

    def for_each_weight(params: PyTree) -> PyTree:
        return jax.tree.map(lambda s, p: jnp.broadcast_to(s, p.shape), he(params), params)

    search = rso(loss_fn, reduction="sum", **presets.authors_code(cycles, sigma=for_each_weight))

    def advance(
        key: Array, state: State, stage: Stage, prepared: PyTree, start: int, stop: int
    ) -> tuple[State, Info]:
        state, info = search.advance(key, state, stage, prepared, start, stop)
        assert info.choices is not None
        factor = jnp.where(info.choices != 0, widen, narrow)

        def adapt(path: Any, sigma: Array) -> Array:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            return sigma * factor if name == stage.name else sigma

        return state._replace(sigma=jax.tree_util.tree_map_with_path(adapt, state.sigma)), info

    return _in_one_piece(search, advance=advance)


def decide_by_race(
    sweep: Sweep, columns: Columns, segment: Segment, done: Done, *, race: Race
) -> Done:
    """Visit the wanted weights of a segment, each until the decision is clear."""

    def visit(number: Array, done: Done) -> Done:
        run = partial(_visit, sweep, columns, race, number)
        return lax.cond(done.more.wanted[number], run, lambda done: done, done)

    return lax.fori_loop(segment.first, segment.last, visit, done)


def _visit(sweep: Sweep, columns: Columns, race: Race, number: Array, done: Done) -> Done:
    """Decide one weight."""
    o, k = columns.first, sweep.order[number - columns.first * sweep.leaf.height]
    weights = done.leaf[..., o].reshape(-1)
    tried, shape = sweep.prepared.candidates[number], done.leaf.shape[:-1]
    incumbent = weights.at[k].set(tried[0])

    def look(seen: tuple[Array, ...]) -> tuple[Array, ...]:
        parts, base, total, squares = seen
        turn = number * race.most + parts
        view = view_minibatch(sweep, columns, done.leaf, turn)
        view = open_view(sweep, columns, view, o, turn)
        z = sweep.program.preactivation(view, incumbent.reshape(shape))
        direction = sweep.program.direction(view, k)

        def loss(value: Array) -> Array:
            moved = move(z, direction, value, tried[0])
            return sweep.program.loss(view, incumbent.at[k].set(value).reshape(shape), moved)

        losses = jax.vmap(loss)(tried)
        change = losses[1:] - losses[0]
        return parts + 1, base + losses[0], total + change, squares + change**2

    def is_unclear(seen: tuple[Array, ...]) -> Array:
        parts, _, total, squares = seen
        mean = total / jnp.maximum(parts, 1)
        spread = squares / jnp.maximum(parts, 1) - mean**2
        error = jnp.sqrt(jnp.maximum(spread, 0) / jnp.maximum(parts - 1, 1))
        known = jnp.all(jnp.abs(mean) > race.clear * error)
        return (parts < race.least) | ((parts < race.most) & ~known)

    nothing = jnp.zeros(CANDIDATES - 1, sweep.plan.loss_dtype)
    unseen = jnp.zeros((), int), nothing[0], nothing, nothing
    parts, base, total, _ = lax.while_loop(is_unclear, look, unseen)
    gains = jnp.concatenate([jnp.zeros(1, total.dtype), total])
    best = jnp.argmin(gains)
    column = incumbent.at[k].set(tried[best]).reshape(shape)
    gained = jnp.maximum(-total.min(), 0)
    more = done.more._replace(
        gains=done.more.gains.at[number].set(gained), looked=done.more.looked + parts
    )
    return done._replace(
        leaf=done.leaf.at[..., o].set(column),
        choices=done.choices.at[number].set(best.astype(jnp.int8)),
        losses=done.losses.at[number].set((base + gains[best]) / parts),
        more=more,
    )


def _sweep_of(loss_fn: Callable, cycles: int, race: Race) -> Callable[..., Any]:
    """``sweep(key, state, batches, wanted, path) -> (state, loss, accepted, raced)``.

    Of leaves that are stored as columns, as all of the networks compared here are.
    """
    preset = presets.authors_code(cycles)
    pieces = Pieces(normal, greedy, preset["minibatches"], preset["weight_decay"])
    loss, _ = take_apart(loss_fn, has_aux=False, keyed=False)

    @partial(jax.jit, static_argnames="path")
    def sweep(
        key: Array, state: State, batches: PyTree, wanted: Array, path: str
    ) -> tuple[State, Array, Array, Raced]:
        variables, batch = Variables(state.params), one_of_stack(batches)
        described = describe_leaves(loss_fn, state.params, batch)
        (leaf,) = (leaf for leaf in described if leaf.path == path)
        arrays, treedef = jax.tree.flatten(state.params)
        program = column_program(loss, variables, batch, leaf.position)
        plan = plan_sweep(
            program,
            variables,
            batches,
            leaf,
            pieces=pieces,
            block=None,
            candidate_axis="vmap",
            memory_budget=8 * 2**30,
            mesh=None,
        )
        sigma = jax.tree.leaves(he(state.params))[leaf.position] * preset["schedule"](state.cycle)
        of_sweep, array = keys.of_sweep(key, leaf.position), arrays[leaf.position]
        drawn = prepare_sweep(
            pieces, of_sweep, of_sweep, array, jnp.zeros_like(array), sigma, state.cycle, batches
        )
        prefixes = lax.map(lambda batch: program.prefix(variables, batch), drawn.batches)
        prepared = dataclasses.replace(drawn, prefixes=prefixes)
        swept = begin_sweep(leaf, program, plan, pieces, of_sweep, variables, prepared)
        nothing = Raced(wanted, jnp.zeros(leaf.visits), jnp.zeros((), int))
        bounds = jnp.zeros((), jnp.int32), jnp.asarray(leaf.visits, jnp.int32)
        decide = partial(decide_by_race, race=race)
        arrays[leaf.position], visits, raced = traverse(swept, *bounds, decide, nothing)
        state = state._replace(params=jax.tree.unflatten(treedef, arrays))
        return state, visits.loss, visits.accepted, raced

    return sweep


def _in_one_piece(search: Method, **others: Callable) -> Method:
    """A method whose stages are not interrupted, with other functions."""

    def stages(key: Array, state: State, batches: PyTree) -> list[Stage]:
        found = search.stages(key, state, batches)
        return [Stage(stage.name, np.array([0, stage.visits])) for stage in found]

    return dataclasses.replace(search, stages=stages, **others)


def _hand_on(key: Array, state: State, stage: Stage, batches: PyTree) -> PyTree:
    """What the visits of a stage share: the mini-batches alone."""
    return batches


def _in_parts(race: Race, array: Array) -> Array:
    """A stack [M, n, ...] of mini-batches as one of their parts."""
    count, size = array.shape[0] * race.most, array.shape[1] // race.most
    return array[:, : size * race.most].reshape(count, size, *array.shape[2:])


def _info(loss: Array, accepted: Array, visits: int, rounds: int, examples: int) -> Info:
    """What visits came to that looked at so many examples in each round."""
    return Info(
        loss=loss / examples,
        accepted=accepted,
        visits=visits,
        decisions=rounds,
        weight_updates=visits,
        candidates=CANDIDATES * rounds,
        image_evaluations=CANDIDATES * rounds * examples,
    )
