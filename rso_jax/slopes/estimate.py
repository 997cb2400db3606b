"""``value_and_slopes``: what stands where ``jax.value_and_grad`` would, by evaluations alone."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rso_jax.arrays import check_arrays, structs_of
from rso_jax.errors import UserError
from rso_jax.incremental import ColumnProgram, ColumnView, column_program, move
from rso_jax.search.columns import Outputs, as_stored
from rso_jax.search.leaves import Leaf, describe_leaves, loss_of_columns, with_columns
from rso_jax.slopes.examples import (
    LossesFn,
    by_examples,
    count_examples,
    example_axes,
    from_examples,
    with_twice_the_examples,
)
from rso_jax.slopes.probes import Column, Probes, Size, cheapest

PyTree = Any

AT_ONCE_BYTES_ON_CPU = 32 * 2**20


class EstimateInfo(NamedTuple):
    """What an estimate cost."""

    image_evaluations: int
    """Evaluations times examples in the mini-batch, that of the value included."""


class LeafPlan(NamedTuple):
    """How the slopes of a leaf are learned."""

    leaf: Leaf
    program: ColumnProgram
    size: Size
    """Of each of its columns."""
    axes: tuple[int, ...]
    """Of examples in its pre-activations, where these are probed."""
    evaluations: int
    """For a column."""
    at_once: int
    """Evaluations side by side."""


def value_and_slopes(
    losses_fn: LossesFn,
    probes: Probes | None = None,
    *,
    searched: Callable[[str], bool] | PyTree | None = None,
    outputs: Outputs | None = None,
    memory_budget: int = 2**30,
) -> Callable[[Array, PyTree, PyTree], tuple[Array, PyTree, EstimateInfo]]:
    """A function like ``jax.value_and_grad(losses_fn)``, by evaluations of the losses alone.

    ::

        estimate = jax.jit(value_and_slopes(losses))
        value, slopes, info = estimate(key, params, batch)
        updates, opt_state = optimizer.update(slopes, opt_state, params)

    Args:
        losses_fn: ``losses_fn(params, batch)``: one loss for each example [n], or for each of its
            positions too [n, T]; or one scalar, of which only weights can be probed. Their mean is
            what the slopes are of.
        probes: how slopes are learned; by default ``cheapest()``, for each leaf the fewer of
            pre-activations and weights.
        searched: which leaves, as of ``rso``; the slopes of the others are 0.
        outputs: axes of outputs by path, as of ``rso``.
        memory_budget: bytes that evaluations side by side may take.

    Returns:
        ``estimate(key, params, batch) -> (value, slopes, info)``.
    """
    probes = probes or cheapest()

    def estimate(key: Array, params: PyTree, batch: PyTree) -> tuple[Array, PyTree, EstimateInfo]:
        check_arrays("params", params)
        check_arrays("batch", batch)
        examples = count_examples(batch)
        plans = plan_leaves(losses_fn, probes, params, batch, searched, outputs, memory_budget)
        losses = reduce_losses(losses_fn(params, batch))
        arrays, treedef = jax.tree.flatten(params)
        slopes = [jnp.zeros_like(a) for a in arrays]
        for plan in plans:
            at = plan.leaf.position
            of_leaf = jax.random.fold_in(key, at)
            slopes[at] = leaf_slopes(plan, probes, of_leaf, params, batch, losses)
        evaluations = 1 + sum(plan.evaluations * plan.leaf.columns for plan in plans)
        info = EstimateInfo(evaluations * examples)
        return jnp.mean(losses), jax.tree.unflatten(treedef, slopes), info

    return estimate


def count_evaluations(
    losses_fn: LossesFn,
    params: PyTree,
    batch: PyTree,
    probes: Probes | None = None,
    searched: Callable[[str], bool] | PyTree | None = None,
    outputs: Outputs | None = None,
    memory_budget: int = 2**30,
) -> int:
    """Evaluations of an estimate, that of the value among them; arguments as it takes them."""
    plans = plan_leaves(
        losses_fn, probes or cheapest(), params, batch, searched, outputs, memory_budget
    )
    return 1 + sum(plan.evaluations * plan.leaf.columns for plan in plans)


def reduce_losses(losses: Array) -> Array:
    """One loss for each example, the mean over its positions; a scalar stays one."""
    return losses if losses.ndim < 2 else losses.reshape(len(losses), -1).mean(1)


def plan_leaves(
    losses_fn: LossesFn,
    probes: Probes,
    params: PyTree,
    batch: PyTree,
    searched: Callable[[str], bool] | PyTree | None,
    outputs: Outputs | None,
    memory_budget: int,
) -> list[LeafPlan]:
    """How the slopes of every searched leaf are learned. Nothing is computed."""
    params, batch = structs_of((params, batch))

    def mean_loss(params: PyTree, batch: PyTree) -> Array:
        return jnp.mean(losses_fn(params, batch))

    leaves = describe_leaves(mean_loss, params, batch, searched, outputs)
    return [plan_leaf(losses_fn, probes, params, batch, leaf, memory_budget) for leaf in leaves]


def plan_leaf(
    losses_fn: LossesFn,
    probes: Probes,
    params: PyTree,
    batch: PyTree,
    leaf: Leaf,
    memory_budget: int,
) -> LeafPlan:
    """How the slopes of a leaf are learned."""
    examples, by_columns = count_examples(batch), with_columns(params, leaf)
    losses = loss_of_columns(losses_fn, leaf)
    program, view, weights, z = _trace(losses, by_columns, batch, leaf, to_products=True)
    more = with_twice_the_examples(batch)
    twice = _trace(losses, by_columns, more, leaf, to_products=True)[-1]
    axes = example_axes(z, twice, examples)
    whole = jax.eval_shape(program.loss, view, weights, z)
    owned = bool(z) and None not in axes and not _reads_weights(program, view, weights, z)
    positions = sum(math.prod(a.shape) for a in z) // examples if owned else 0
    size = Size(leaf.height, positions, whole.shape[:1] == (examples,))
    evaluations = probes.evaluations(size)
    if evaluations is None:
        raise UserError(
            f"{leaf.path} cannot be probed in this way; use cheapest(), or add weights() to it"
        )
    if probes.moves(size) == "weights":  # then means and pools of z need not be computed again
        program, view, weights, z = _trace(losses, by_columns, batch, leaf, to_products=False)
    room = AT_ONCE_BYTES_ON_CPU if jax.default_backend() == "cpu" else memory_budget
    held = max(_bytes_made(program.loss, view, weights, z), 1)
    own = tuple(a for a in axes if a is not None) if owned else ()
    return LeafPlan(leaf, program, size, own, evaluations, max(1, min(room, memory_budget) // held))


def _trace(
    losses: LossesFn, params: PyTree, batch: PyTree, leaf: Leaf, *, to_products: bool
) -> tuple[ColumnProgram, ColumnView, Any, Any]:
    program = column_program(
        losses, params, batch, leaf.position, from_incumbent=True, to_products=to_products
    )
    view = jax.eval_shape(program.view, params, batch, jax.ShapeDtypeStruct((), "int32"))
    weights = jax.ShapeDtypeStruct(leaf.form[:-1], leaf.dtype)
    return program, view, weights, jax.eval_shape(program.preactivation, view, weights)


def _reads_weights(program: ColumnProgram, view: ColumnView, weights: Any, z: Any) -> bool:
    """Whether the loss depends on the weights otherwise than through z."""
    traced = jax.make_jaxpr(program.loss)(view, weights, z).jaxpr
    place = len(jax.tree.leaves(view))
    return any(traced.invars[place] in eqn.invars for eqn in traced.eqns)


def leaf_slopes(
    plan: LeafPlan, probes: Probes, key: Array, params: PyTree, batch: PyTree, losses: Array
) -> Array:
    """The slopes of a leaf, of its shape."""
    leaf, program = plan.leaf, plan.program
    by_columns = with_columns(params, leaf)
    array = jax.tree.leaves(by_columns)[leaf.position]
    prefix = program.prefix(by_columns, batch)

    def of_column(one: tuple[Array, Array]) -> Array:
        index, key = one
        view = program.view(by_columns, batch, index, prefix)
        weights = array[..., index] if array.ndim else array
        return probes.slopes(key, open_column(plan, probes.moves(plan.size), view, weights, losses))

    columns = jnp.arange(leaf.columns, dtype=jnp.int32), jax.random.split(key, leaf.columns)
    found = _map(of_column, columns, max(1, plan.at_once // plan.evaluations))
    form = jnp.moveaxis(found, 0, -1).reshape(leaf.form)
    return as_stored(form, leaf.axes, leaf.shape).astype(leaf.dtype)


def open_column(
    plan: LeafPlan, probed: str, view: ColumnView, weights: Array, losses: Array
) -> Column:
    """A column as probes see it."""
    program, shape = plan.program, weights.shape
    z = program.preactivation(view, weights)
    to_z = partial(program.preactivation, view)

    def move_weight(k: Array, value: Array) -> Array:
        flat = weights.reshape(-1)
        moved = move(z, program.direction(view, k), value, flat[k])
        changed = flat.at[k].set(value).reshape(shape)
        return reduce_losses(program.loss(view, changed, moved))

    def move_z(values: Array) -> Array:
        moved = from_examples(values, z, plan.axes)
        return reduce_losses(program.loss(view, weights, moved))

    def transpose(slopes: Array) -> Array:
        (found,) = jax.linear_transpose(to_z, weights)(from_examples(slopes, z, plan.axes))
        return found.reshape(-1)

    owned = by_examples(z, plan.axes) if probed == "nodes" else jnp.zeros((1, 0))
    run = partial(_map_each, at_once=plan.at_once)
    return Column(
        plan.size, weights.reshape(-1), owned, losses, move_weight, move_z, transpose, run
    )


def _map_each(function: Callable[..., Array], *xs: PyTree, at_once: int) -> Array:
    return _map(lambda one: function(*one), xs, at_once)


def _map(function: Callable[[Any], Array], xs: PyTree, at_once: int) -> Array:
    count = jax.tree.leaves(xs)[0].shape[0]
    if at_once >= count:
        return jax.vmap(function)(xs)
    return lax.map(function, xs, batch_size=at_once)


def _bytes_made(function: Callable[..., Any], *arguments: Any) -> int:
    eqns = jax.make_jaxpr(function)(*arguments).eqns
    return sum(v.aval.size * v.aval.dtype.itemsize for e in eqns for v in e.outvars)
