"""Searches whose cost depends on what they see, for comparison in ``search_variants.py``.

Racing stops an evaluation as soon as it is clear which candidates are better than the incumbent;
revisiting gives the weights that gained most another visit; adapting widens the steps of weights
that were moved and narrows those of the others. Sequential RSO (preset ``authors_code``) otherwise.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rso_jax import presets, rso
from rso_jax.incremental import column_program
from rso_jax.search.interface import Search, State
from rso_jax.search.minibatches import cycled
from rso_jax.search.sigma import he

PyTree = Any


class Race(NamedTuple):
    """When the loss of a candidate is known well enough."""

    least: int
    """Parts of the mini-batch evaluated in any case."""
    most: int
    """Parts there are."""
    clear: float
    """Standard errors that the mean difference to the incumbent must differ from 0 by."""


class Cost(NamedTuple):
    """Of a cycle, by the names that ``rso`` has for it."""

    image_evaluations: int
    decisions: int


def racing(loss_fn: Callable, cycles: int, race: Race) -> Search:
    """Sequential search that looks at a mini-batch part by part until the decision is clear."""

    def step(key: Array, state: State, batches: PyTree) -> tuple[State, Cost]:
        def in_parts(a: Array) -> Array:
            count, size = a.shape[0] * race.most, a.shape[1] // race.most
            return a[:, : size * race.most].reshape(count, size, *a.shape[2:])

        parts = jax.tree.map(in_parts, batches)
        evaluations = rounds = 0
        for leaf in search.order(key, state, batches):
            everything = jnp.arange(leaf.visits)
            params, _, looked = sweep(key, state, parts, everything, leaf.position)
            state = state._replace(params=params)
            evaluations += 3 * int(looked) * jax.tree.leaves(parts)[0].shape[1]
            rounds += int(looked)
        return state._replace(cycle=state.cycle + 1), Cost(evaluations, rounds)

    search = rso(loss_fn, **presets.authors_code(cycles))
    sweep = _sweep_of(loss_fn, cycles, race)
    return search._replace(step=step)


def revisiting(loss_fn: Callable, cycles: int, share: float) -> Search:
    """Sequential search that, after each sweep, visits a share of its weights once more.

    Those whose visit lowered the loss of its mini-batch most.
    """

    def step(key: Array, state: State, batches: PyTree) -> tuple[State, Cost]:
        visits = 0
        for leaf in search.order(key, state, batches):
            listed = jnp.arange(leaf.visits)
            for turn in range(2):
                params, gains, _ = sweep(
                    jax.random.fold_in(key, turn), state, batches, listed, leaf.position
                )
                state = state._replace(params=params)
                visits += len(listed)
                most = jnp.argsort(-gains.reshape(-1))[: max(1, int(share * leaf.visits))]
                columns = leaf.shape[-1]
                listed = most[jnp.argsort(most % columns * leaf.visits + most // columns)]
        examples = jax.tree.leaves(batches)[0].shape[1]
        return state._replace(cycle=state.cycle + 1), Cost(3 * visits * examples, visits)

    search = rso(loss_fn, **presets.authors_code(cycles))
    sweep = _sweep_of(loss_fn, cycles, Race(1, 1, 0.0))
    return search._replace(step=step)


def adapting(loss_fn: Callable, cycles: int, widen: float, narrow: float) -> Search:
    """Sequential search with a sigma for each weight, by whether its last visit moved it."""

    def for_each_weight(params: PyTree) -> PyTree:
        return jax.tree.map(lambda s, p: jnp.broadcast_to(s, p.shape), he(params), params)

    def step(key: Array, state: State, batches: PyTree) -> tuple[State, Any]:
        leaves = search.order(key, state, batches)
        state, info = search.step(key, state, batches)
        sigma, treedef = jax.tree.flatten(state.sigma)
        for leaf in leaves:
            moved = info.sweeps[leaf.path].choices != 0
            sigma[leaf.position] = sigma[leaf.position] * jnp.where(moved, widen, narrow)
        return state._replace(sigma=jax.tree.unflatten(treedef, sigma)), info

    search = rso(loss_fn, **presets.authors_code(cycles) | {"sigma": for_each_weight})
    return search._replace(step=step)


def _sweep_of(loss_fn: Callable, cycles: int, race: Race) -> Callable[..., Any]:
    """``sweep(key, state, batches, visits, position)``: visits of some weights of one leaf.

    ``visits`` are places in the flattened leaf. Returns the parameters, what each weight gained
    on its mini-batch [leaf], and the number of parts evaluated.
    """
    settings = presets.authors_code(cycles)

    @partial(jax.jit, static_argnums=4)
    def sweep(
        key: Array, state: State, batches: PyTree, visits: Array, position: int
    ) -> tuple[PyTree, Array, Array]:
        batches = cycled.arrange(jax.random.fold_in(key, position), batches)
        leaves, treedef = jax.tree.flatten(state.params)
        start = leaves[position]
        columns = start.shape[-1]
        sigma = jax.tree.leaves(he(state.params))[position] * settings["schedule"](state.cycle)
        first = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), batches)
        program = column_program(loss_fn, state.params, first, position)
        prefixes = lax.map(lambda batch: program.prefix(state.params, batch), batches)
        stacked = jax.tree.leaves(batches)[0].shape[0]

        def visit(number: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            leaf, gains, looked = carry
            at = visits[number]
            column = at % columns
            weight = leaf.reshape(-1)[at] * (1 - settings["weight_decay"])
            leaf = leaf.reshape(-1).at[at].set(weight).reshape(leaf.shape)
            incumbent = jax.tree.unflatten(
                treedef, [*leaves[:position], leaf, *leaves[position + 1 :]]
            )
            distance = sigma * jax.random.normal(jax.random.fold_in(key, number), (), leaf.dtype)
            tried = weight + jnp.stack([jnp.zeros_like(distance), distance, -distance])

            def look(s: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
                parts, total, squares = s
                turn = (number * race.most + parts) % stacked
                batch, prefix = (
                    jax.tree.map(lambda a: a[turn], tree) for tree in (batches, prefixes)
                )
                kept = program.column(incumbent, batch, prefix, column)
                inside = incumbent, batch, prefix, kept, column

                def loss(value: Array) -> Array:
                    weights = leaf[..., column].reshape(-1).at[at // columns].set(value)
                    weights = weights.reshape(leaf.shape[:-1])
                    return program.loss(*inside, weights, program.preactivation(*inside, weights))

                losses = jax.vmap(loss)(tried)
                change = losses[1:] - losses[0]
                return parts + 1, total + change, squares + change**2

            def unclear(s: tuple[Array, Array, Array]) -> Array:
                parts, total, squares = s
                mean = total / jnp.maximum(parts, 1)
                spread = squares / jnp.maximum(parts, 1) - mean**2
                error = jnp.sqrt(jnp.maximum(spread, 0) / jnp.maximum(parts - 1, 1))
                known = jnp.all(jnp.abs(mean) > race.clear * error)
                return (parts < race.least) | ((parts < race.most) & ~known)

            nothing = jnp.zeros(2, jax.eval_shape(loss_fn, state.params, first).dtype)
            parts, total, _ = lax.while_loop(unclear, look, (jnp.zeros((), int), nothing, nothing))
            best = jnp.argmin(jnp.concatenate([jnp.zeros(1, total.dtype), total]))
            leaf = leaf.reshape(-1).at[at].set(tried[best]).reshape(leaf.shape)
            gained = jnp.maximum(-total.min(), 0)
            return leaf, gains.at[at].set(gained), looked + parts

        carry = start, jnp.zeros(start.size), jnp.zeros((), int)
        leaf, gains, looked = lax.fori_loop(0, visits.shape[0], visit, carry)
        params = jax.tree.unflatten(treedef, [*leaves[:position], leaf, *leaves[position + 1 :]])
        return params, gains.reshape(start.shape), looked

    return sweep
