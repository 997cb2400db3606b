"""The compiled functions of a search: each is compiled once for arguments of a kind.

Nothing is compiled again for another key, cycle, or part of a sweep.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.stages import Wrapped

from rso_jax.arrays import weak_as
from rso_jax.leaves import Axes, Leaf, as_stored, in_columns, with_columns
from rso_jax.mesh import DATA, constrain
from rso_jax.search import keys
from rso_jax.search.block import decide_block
from rso_jax.search.joint import Block
from rso_jax.search.objective import Variables
from rso_jax.search.planning import Planner, signature_of
from rso_jax.search.sequential import decide_in_turn
from rso_jax.search.sweep import Prepared, prepare_sweep
from rso_jax.search.traversal import Visits, begin_sweep, traverse
from rso_jax.stacks import one_of_stack

PyTree = Any
Aux = Callable[[Variables, PyTree], PyTree]


class Compiled(NamedTuple):
    """The functions that run on the device."""

    draw: Wrapped
    """``_draw``, and so on."""
    keep: Wrapped
    visit: Wrapped
    aux: Wrapped | None


def compile_functions(planner: Planner, aux: Aux | None) -> Compiled:
    """The functions of a search, to be compiled as they are called.

    Args:
        planner: of the search.
        aux: what its loss returns besides its value, if it does.
    """
    donated = ("array",) if planner.settings.donate else ()
    static = ("treedef", "leaf", "block")
    return Compiled(
        draw=jax.jit(partial(_draw, planner), static_argnames=("path", "axes")),
        keep=jax.jit(partial(_keep, planner), static_argnames=("leaf", "block")),
        visit=jax.jit(partial(_visit, planner), static_argnames=static, donate_argnames=donated),
        aux=jax.jit(partial(_aux, planner, aux)) if aux else None,
    )


def _draw(
    planner: Planner,
    key: Array,
    numbers: Array,
    array: Array,
    sigma: Array,
    cycle: Array,
    batches: PyTree,
    shared: PyTree,
    path: str,
    axes: Axes,
) -> Prepared:
    """What the visits of a sweep share, but for what is kept of the column program.

    Args:
        planner: of the search.
        key: PRNG key of the cycle.
        numbers: position of the leaf, and number of all leaves; traced, so that leaves of one shape
            share what is compiled.
        array: the leaf as it is stored.
        sigma: of the leaf, before the schedule.
        cycle: cycles completed.
        batches: stack of mini-batches as given.
        shared: arrays that all examples share.
        path: of the leaf where its proposal depends on that; else empty, so that leaves of one
            shape share what is compiled.
        axes: of the leaf.
    """
    settings = planner.settings
    array = in_columns(array, axes)
    sigma = in_columns(sigma, axes) if sigma.ndim else sigma
    scaled = sigma * jnp.asarray(settings.schedule(cycle), sigma.dtype)
    drawn = prepare_sweep(
        settings.pieces,
        planner.proposal(path),
        keys.of_sweep(key, numbers[0]),
        keys.of_arrangement(key, numbers[1]),
        array,
        scaled,
        cycle,
        batches,
        shared,
    )
    whole = constrain(settings.mesh, drawn)
    return replace(whole, batches=constrain(settings.mesh, drawn.batches, None, DATA))


def _keep(
    planner: Planner, variables: Variables, batches: PyTree, leaf: Leaf, block: Block | None
) -> PyTree:
    """The prefix of every mini-batch [M, ...] where the plan keeps them, else nothing."""
    program, plan = planner.sweep(signature_of(variables, batches), leaf, block)
    if not plan.kept.prefixes:
        return ()
    by_columns = with_columns(variables, leaf)
    return jax.lax.map(lambda batch: program.prefix(by_columns, batch), batches)


def _visit(
    planner: Planner,
    key: Array,
    array: Array,
    others: list[Array],
    prepared: Prepared,
    start: Array,
    stop: Array,
    treedef: Any,
    leaf: Leaf,
    block: Block | None,
) -> tuple[Array, Visits]:
    """Visits ``start`` to ``stop - 1``: the leaf after them, and what was decided.

    Args:
        planner: of the search.
        key: PRNG key of the cycle.
        array: the leaf as it is stored.
        others: all other leaves, in order.
        prepared: what the visits share.
        start: first visit.
        stop: one past the last.
        treedef: structure of the parameters.
        leaf: which leaf it is.
        block: what is decided at once.
    """
    settings, at = planner.settings, leaf.position
    params = jax.tree.unflatten(treedef, [*others[:at], array, *others[at:]])
    variables = settings.variables_of(params, prepared.shared, key)
    planned = planner.sweep(signature_of(variables, prepared.batches), leaf, block)
    of_sweep, by_columns = keys.of_sweep(key, at), with_columns(variables, leaf)
    made = leaf, planned.program, planned.plan, settings.pieces
    sweep = begin_sweep(*made, of_sweep, by_columns, prepared)
    decide = partial(decide_block, block=block) if block else decide_in_turn
    after, done, _ = traverse(sweep, start, stop, decide)
    after, choices, losses = (
        as_stored(a, leaf.axes, leaf.shape) for a in (after, done.choices, done.losses)
    )
    done = done._replace(choices=choices, losses=losses)
    return constrain(settings.mesh, (weak_as(array, after), done))


def _aux(
    planner: Planner, aux: Aux, key: Array, params: PyTree, batches: PyTree, shared: PyTree
) -> PyTree:
    """What the loss returns besides its value, of the incumbent on the first mini-batch."""
    settings = planner.settings
    of_aux = keys.of_aux(key, len(jax.tree.leaves(params)))
    first = weak_as(one_of_stack(batches), jax.tree.map(lambda a: a[0], batches))
    return constrain(settings.mesh, aux(settings.variables_of(params, shared, of_aux), first))
