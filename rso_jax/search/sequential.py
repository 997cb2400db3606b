"""Sequential search: visit the weights of a leaf one at a time and decide each (Algorithm 1).

For each weight w: shrink it by the weight decay, draw perturbations, evaluate the incumbent
and the candidates on one mini-batch, keep one of them, and go on from there.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from rso_jax.candidates import count_not_finite, finite_or_inf
from rso_jax.incremental import ColumnProgram
from rso_jax.mesh import DATA, size_of
from rso_jax.search.evaluation import Plan
from rso_jax.search.objective import Variables
from rso_jax.search.order import visiting_order
from rso_jax.search.sweep import (
    Prepared,
    Rule,
    Visits,
    accept,
    decided,
    in_turn,
    minibatch_of,
    moved,
    of_column,
    streams,
    with_key,
    with_leaf,
)

PyTree = Any


def visit_weights(
    program: ColumnProgram,
    rule: Rule,
    plan: Plan,
    key: Array,
    variables: Variables,
    leaf_index: int,
    prepared: Prepared,
    start: Array,
    stop: Array,
) -> tuple[Array, Visits]:
    """Visits ``start`` to ``stop - 1`` of the sweep of one leaf.

    The bounds are traced, so that one compilation serves a whole sweep as well as any part of
    it. The randomness of a visit depends on ``key`` and its number alone. A sweep cut into parts
    decides as one in one piece: bit for bit if it is cut between stretches, elsewhere up to the
    rounding of the pre-activation, which is computed anew there.

    Args:
        program: evaluates candidates, for this leaf.
        rule: the pieces of the search.
        plan: what is computed ahead and kept, and how candidates are batched.
        key: PRNG key of the sweep.
        variables: of the loss; its parameters are the incumbent.
        leaf_index: place of the leaf among the flattened parameters.
        prepared: by ``prepare_sweep``, with the same key.
        start: first visit, integer scalar.
        stop: one past the last visit, integer scalar.

    Returns:
        The leaf after these visits, and what was decided.
    """
    leaves, treedef = jax.tree.flatten(variables)
    shape = leaves[leaf_index].shape
    columns = shape[-1] if shape else 1
    height = math.prod(shape[:-1])
    candidates = prepared.candidates
    batch_key, acceptance_key = jax.random.split(streams(key)[2])
    # Every column visits its weights in the same order: where they are within the column.
    within = visiting_order(shape)[:height] // columns
    length = plan.stretch.weights
    # Devices that share mini-batches add up once for all of a stack, instead of for each.
    shared = size_of(plan.mesh, DATA) > 1 and plan.at_once > 1

    def visit_column(o: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        leaf, choices, losses, not_finite = carry
        batches, prefixes = of_column(rule, o, (prepared.batches, prepared.prefixes))
        incumbent = with_leaf(leaves, treedef, leaf_index, leaf)

        def of_stack(function: Callable[..., PyTree], at_once: bool = False) -> PyTree:
            """What a function makes of every mini-batch, its prefix and its residuals."""
            if at_once:
                return jax.vmap(function)(batches, prefixes, kept)
            return lax.map(lambda of_one: function(*of_one), (batches, prefixes, kept))

        if plan.keep_columns:
            kept = lax.map(lambda x: program.column(incumbent, x[0], x[1], o), (batches, prefixes))

        def visit_stretch(stretch: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
            column, choices, losses, not_finite = carry

            def before(
                number: Array, column: Array, carried: PyTree
            ) -> tuple[tuple[Variables, PyTree, PyTree, PyTree, Array], PyTree]:
                """What a visit starts from, as programs take it, and the pre-activation."""
                now = with_key(incumbent, key, number)
                batch = minibatch_of(rule, batch_key, number, batches)
                if plan.keep_prefixes:
                    prefix = in_turn(prefixes, number)
                else:
                    prefix = program.prefix(now, batch)
                if plan.keep_columns:
                    residual = in_turn(kept, number)
                else:
                    residual = program.column(now, batch, prefix, o)
                inside = now, batch, prefix, residual, o
                if plan.carry_preactivations:
                    return inside, in_turn(carried, number)
                return inside, program.preactivation(*inside, column.reshape(shape[:-1]))

            def visit(
                number: Array, carry: tuple[Array, PyTree, PyTree, Array, Array, Array]
            ) -> tuple[Array, PyTree, PyTree, Array, Array, Array]:
                column, carried, known, choices, losses, not_finite = carry
                inside, z = before(number, column, carried)
                at, tried = within[number - o * height], candidates[number]
                towards = program.direction(*inside, at)

                def loss(weight: Array) -> Array:
                    weights = column.at[at].set(weight).reshape(shape[:-1])
                    return program.loss(*inside, weights, moved(z, towards, weight, column[at]))

                scores = plan.score(loss, tried[1:] if plan.reuse_incumbent else tried)
                not_finite += count_not_finite(scores)
                if plan.reuse_incumbent:
                    scores = jnp.concatenate([known[None], scores])
                scores = finite_or_inf(scores)
                of_visit = jax.random.fold_in(acceptance_key, number)
                choice = accept(rule, of_visit, scores, prepared.cycle)
                if plan.carry_preactivations:
                    towards = of_stack(
                        lambda x, p, c: program.direction(incumbent, x, p, c, o, at), at_once=shared
                    )
                    carried = moved(carried, towards, tried[choice], column[at])
                return (
                    column.at[at].set(tried[choice]),
                    carried,
                    scores[choice] if plan.reuse_incumbent else (),
                    choices.at[number].set(choice.astype(jnp.int8)),
                    losses.at[number].set(scores[choice]),
                    not_finite,
                )

            carried: PyTree = ()
            if plan.carry_preactivations:
                weights = column.reshape(shape[:-1])
                carried = of_stack(
                    lambda x, p, c: program.preactivation(incumbent, x, p, c, o, weights)
                )
            known: PyTree = ()
            if plan.reuse_incumbent:
                weights = column.reshape(shape[:-1])
                inside, z = before(jnp.zeros_like(start), column, carried)
                known = program.loss(*inside, weights, z)
                not_finite += count_not_finite(known)
            begin = o * height + stretch * length
            end = jnp.minimum(begin + length, (o + 1) * height)
            first, last = jnp.maximum(start, begin), jnp.minimum(stop, end)
            column, *_, choices, losses, not_finite = lax.fori_loop(
                first, last, visit, (column, carried, known, choices, losses, not_finite)
            )
            return column, choices, losses, not_finite

        column = (leaf[..., o] if shape else leaf).reshape(-1)
        first = jnp.maximum(start - o * height, 0) // length
        last = (jnp.minimum(stop - o * height, height) + length - 1) // length
        column, choices, losses, not_finite = lax.fori_loop(
            first, last, visit_stretch, (column, choices, losses, not_finite)
        )
        column = column.reshape(shape[:-1])
        leaf = leaf.at[..., o].set(column) if shape else column
        return leaf, choices, losses, not_finite

    size = columns * height
    nothing = jnp.zeros(size, jnp.int8), jnp.zeros(size, plan.loss_dtype), jnp.zeros((), jnp.int32)
    first, last = start // height, (stop + height - 1) // height
    leaf, choices, losses, not_finite = lax.fori_loop(
        first, last, visit_column, (leaves[leaf_index], *nothing)
    )
    return leaf, decided(choices, losses, not_finite, shape, stop)
