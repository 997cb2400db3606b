"""``value_and_slopes``: what stands where ``jax.value_and_grad`` would, by evaluations alone."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rso_jax.arguments import check_callable, check_key
from rso_jax.arrays import check_arrays
from rso_jax.candidates import map_candidates
from rso_jax.incremental import ColumnView, move
from rso_jax.leaves import (
    LookAhead,
    Outputs,
    as_stored,
    check_look_ahead,
    in_columns,
)
from rso_jax.slopes.column import Column
from rso_jax.slopes.examples import (
    LossesFn,
    by_examples,
    by_tokens,
    find_tokens,
    from_examples,
)
from rso_jax.slopes.forward import run_forward
from rso_jax.slopes.planning import (
    LeafPlan,
    MakePlan,
    ProbesOfLeaves,
    Settings,
    check_probes,
    planner,
)
from rso_jax.stacks import count_examples

PyTree = Any
Value = Array | dict[str, Array]
"""The mean loss; of several losses that of each by name, in order."""


class EstimateInfo(NamedTuple):
    """What an estimate cost."""

    image_evaluations: int | float
    """Evaluations times examples in the mini-batch, that of the value included; of floating point
    where JAX's integers end before."""


def value_and_slopes(
    losses_fn: LossesFn,
    probes: ProbesOfLeaves | None = None,
    *,
    searched: Callable[[str], bool] | PyTree | None = None,
    outputs: Outputs | None = None,
    memory_budget: int = 2**30,
    look_ahead: LookAhead = 0,
) -> Callable[[Array, PyTree, PyTree], tuple[Value, PyTree, EstimateInfo]]:
    """A function like ``jax.value_and_grad(losses_fn)``, by evaluations of the losses alone.

    ::

        estimate = jax.jit(value_and_slopes(losses))
        value, slopes, info = estimate(key, params, batch)
        updates, opt_state = optimizer.update(slopes, opt_state, params)

    Args:
        losses_fn: ``losses_fn(params, batch)``: one loss for each example [n], or for each of its
            positions too [n, T]; or one scalar, of which only weights can be probed. Their mean is
            what the slopes are of. Of a function that cannot be traced for twice as many examples
            too, as one that names their number, only weights can be probed either. It may return
            several of these in the network's order, as a tuple, a list or a mapping by name; the
            slopes of a leaf are then those of one of them.
        probes: how slopes are learned; by default ``cheapest()``, for each leaf the fewer of
            pre-activations and weights. A function of a leaf's path gives each its own.
        searched: which leaves, as of ``rso``; the slopes of the others are 0.
        outputs: axes of outputs by path, as of ``rso``.
        memory_budget: bytes that evaluations side by side may take.
        look_ahead: which of several losses a leaf's slopes are of, as of ``rso``.

    Returns:
        ``estimate(key, params, batch) -> (value, slopes, info)``; of several losses the value is a
        dictionary of their means by name, which in a tuple is "0", "1" and so on. An evaluation
        whose loss is not finite tells nothing: what it would say of a slope counts as 0.

    Raises:
        UserError: a loss that is no function; from the estimate, arguments that are something else,
            or leaves that the probes cannot tell the slopes of.
    """
    check_callable("losses_fn", losses_fn)
    check_probes(probes)
    check_look_ahead(look_ahead)
    settings = Settings(losses_fn, probes, searched, outputs, memory_budget, look_ahead)
    return partial(estimate, planner(settings))


def estimate(
    make_plan: MakePlan, key: Array, params: PyTree, batch: PyTree
) -> tuple[Value, PyTree, EstimateInfo]:
    """The mean loss, the slopes of all leaves, and what they cost; see ``value_and_slopes``.

    Args:
        make_plan: as of ``planner``.
        key: PRNG key.
        params: pytree of arrays.
        batch: one mini-batch, likewise.
    """
    check_key(key)
    check_arrays("params", params)
    check_arrays("batch", batch)
    examples = count_examples(batch)
    plan = make_plan(params, batch)
    parts = [of_leaf.part for of_leaf in plan.leaves]
    found_losses, known = run_forward(plan.forward, params, batch, parts)
    losses = {name: by_tokens(found) for name, found in found_losses.items()}
    arrays, treedef = jax.tree.flatten(params)
    slopes = [_no_slope(a) for a in arrays]
    for one, given in zip(plan.leaves, known, strict=True):
        position = one.leaf.position
        own_key = jax.random.fold_in(key, position)
        found = leaf_slopes(one, own_key, arrays[position], given, losses[one.loss], examples)
        for leaf, array in zip((one.leaf, *one.biases), found, strict=True):
            slopes[leaf.position] = array.reshape(leaf.shape).astype(leaf.dtype)
    evaluated = plan.evaluations * examples
    countable = evaluated <= jnp.iinfo(jnp.result_type(int)).max
    info = EstimateInfo(evaluated if countable else float(evaluated))
    means = {name: jnp.mean(found) for name, found in losses.items()}
    value = means[""] if list(means) == [""] else means
    return value, jax.tree.unflatten(treedef, slopes), info


def _no_slope(array: Any) -> Array:
    """Zeros of a leaf's type; of keys, which have no zero, numbers."""
    dtype = jnp.result_type(array)
    is_key = jnp.issubdtype(dtype, jax.dtypes.prng_key)
    return jnp.zeros(jnp.shape(array), jnp.float32 if is_key else dtype)


def leaf_slopes(
    plan: LeafPlan,
    key: Array,
    stored: Array,
    known: tuple[Array, ...],
    losses: Array,
    examples: int,
) -> list[Array]:
    """The slopes of a leaf and of the biases that follow from its probes.

    Args:
        plan: of the leaf.
        key: PRNG key.
        stored: the leaf as it is.
        known: what its loss takes beside it.
        losses: of every example and token.
        examples: in the mini-batch.
    """
    leaf, program, probes = plan.leaf, plan.program, plan.probes
    by_columns = (in_columns(stored, leaf.axes),)
    array = by_columns[0].reshape(leaf.form or (1,))
    prefix = program.prefix(by_columns, known)
    every = jnp.arange(leaf.columns, dtype=jnp.int32)
    # Columns stay where they are: of a product of all of them one is left, that of the loss.
    over_columns = partial(jax.vmap, in_axes=(0, -1))

    def view_of(index: Array) -> ColumnView:
        return program.view(by_columns, known, index, prefix)

    @over_columns
    def preactivation(index: Array, weights: Array) -> tuple[Array, ...]:
        return program.preactivation(view_of(index), weights)

    def probe(index: Array, z: tuple[Array, ...], drawn: Array | None) -> Array:
        column = open_column(plan, view_of(index), array[..., index], z, losses)
        return probes.slopes(drawn, column)

    z = preactivation(every, array)
    drawn = probes.draw(key, plan.size, leaf.columns, examples)
    columns = max(1, plan.at_once // plan.evaluations)
    found = map_candidates(probe, (every, z, drawn), columns)
    if plan.moves == "weights":
        return [as_stored(jnp.moveaxis(found, 0, -1).reshape(leaf.form), leaf.axes, leaf.shape)]

    def slopes_of_z(slopes: Array, like: tuple[Array, ...]) -> tuple[Array, ...]:
        return from_examples(slopes, like, plan.axes)

    by_z = jax.vmap(slopes_of_z)(found, z)
    (form,) = jax.linear_transpose(partial(preactivation, every), array)(by_z)
    of_biases = [found.sum((1, 2))] * len(plan.biases)
    return [as_stored(form.reshape(leaf.form), leaf.axes, leaf.shape), *of_biases]


def open_column(
    plan: LeafPlan, view: ColumnView, weights: Array, z: tuple[Array, ...], losses: Array
) -> Column:
    """A column as probes see it."""
    program, shape = plan.program, weights.shape

    def move_weight(k: Array, value: Array) -> Array:
        flat = weights.reshape(-1)
        moved = move(z, program.direction(view, k), value, flat[k])
        changed = flat.at[k].set(value).reshape(shape)
        return by_tokens(program.loss(view, changed, moved))

    def move_z(values: Array) -> Array:
        moved = from_examples(values, z, plan.axes)
        return by_tokens(program.loss(view, weights, moved))

    by_position = by_examples(z, plan.axes) if plan.axes else jnp.zeros((1, 0))

    def move_there(position: Array, values: Array) -> Array:
        here = jnp.arange(by_position.shape[1]) == position
        return move_z(jnp.where(here, values[:, None], by_position))

    each = plan.positions

    def run(function: Callable[..., Array], *tried: PyTree) -> Array:
        return map_candidates(function, tried, plan.at_once)

    return Column(
        size=plan.size,
        weights=weights.reshape(-1),
        z=by_position,
        tokens=find_tokens(z, plan.axes, plan.size.tokens) if plan.axes else np.zeros(0, int),
        losses=losses,
        move_weight=move_weight,
        move_z=move_z,
        move_at=each.move(view, weights, by_position) if each else move_there,
        map=run,
    )
