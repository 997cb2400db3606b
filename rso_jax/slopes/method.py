"""Descent along slopes as a method: any optax optimiser, no derivative."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache, partial
from typing import Any, Literal

import jax
import optax
from jax import Array
from jax.sharding import Mesh

from rso_jax.arguments import check_callable
from rso_jax.arrays import structs_of
from rso_jax.descent import descend, descend_in_turn
from rso_jax.descent.epochs import Cost
from rso_jax.descent.weights import weights_of
from rso_jax.errors import check_name
from rso_jax.leaves import Outputs, mark_searched, sort_last_to_first
from rso_jax.method import Method
from rso_jax.slopes.estimate import estimate
from rso_jax.slopes.examples import LossesFn
from rso_jax.slopes.planning import LeafPlan, Settings, count_evaluations, plan_leaves
from rso_jax.slopes.probes import Probes, cheapest
from rso_jax.stacks import count_examples

PyTree = Any

Leaves = Literal["together", "in_turn"]
"""Whether a visit steps all leaves on its mini-batch, or one leaf after the other does."""


@dataclass(frozen=True, kw_only=True)
class Slopes(Method):
    """Descent along slopes as a method: one stage, a visit for each mini-batch."""


def slopes_method(
    losses_fn: LossesFn,
    optimizer: optax.GradientTransformation,
    probes: Probes | None = None,
    *,
    leaves: Leaves = "together",
    average: float | None = None,
    searched: Callable[[str], bool] | PyTree | None = None,
    outputs: Outputs | None = None,
    memory_budget: int = 2**30,
    mesh: Mesh | None = None,
    donate: bool = False,
) -> Slopes:
    """Any optax optimiser along slopes from evaluations: a visit for each mini-batch.

    Args:
        losses_fn: as of ``value_and_slopes``.
        optimizer: an optax gradient transformation, whose schedules count steps; of leaves that are
            not searched it knows nothing.
        probes: as of ``value_and_slopes``.
        leaves: ``"together"`` steps all leaves at every visit, on one mini-batch. ``"in_turn"``
            steps one leaf at a visit, the last layer's first, each on a mini-batch of its own and
            with an optimiser state of its own, which counts the steps of that leaf.
        average: decay of an exponential mean of the weights over steps, which is then what is
            scored and stored, while steps go on from the weights themselves; in (0, 1).
        searched: as of ``value_and_slopes``.
        outputs: likewise.
        memory_budget: likewise.
        mesh: devices that share the examples of a mini-batch; one if not given.
        donate: let a step reuse the memory of the state it is given, which is then gone.

    Raises:
        UserError: a loss that is no function, an optimizer that is none of optax, or a setting that
            is wrong by itself.
    """
    check_callable("losses_fn", losses_fn)
    check_name("leaves", leaves, ("together", "in_turn"))
    settings = Settings(losses_fn, probes or cheapest(), searched, outputs, memory_budget)
    trained = partial(mark_searched, searched=searched)
    plan = _plan_once(settings)

    def slopes_of_searched(key: Array, params: PyTree, batch: PyTree) -> tuple[Array, PyTree]:
        value, slopes, _ = estimate(settings, key, params, batch)
        return value, weights_of(slopes, trained(params))

    def slopes_of_leaf(key: Array, params: PyTree, batch: PyTree, at: int) -> tuple[Array, Array]:
        arrays, treedef = jax.tree.flatten(params)
        only = jax.tree.unflatten(treedef, [i == at for i in range(len(arrays))])
        value, slopes, _ = estimate(settings._replace(searched=only), key, params, batch)
        return value, jax.tree.leaves(slopes)[at]

    def cost(params: PyTree, batch: PyTree) -> Cost:
        return _cost_of(plan(params, batch), batch)

    def costs(params: PyTree, batch: PyTree) -> dict[int, Cost]:
        plans = {one.leaf: one for one in plan(params, batch)}
        turns = sort_last_to_first(plans)
        return {
            leaf.position: _cost_of([plans[leaf]], batch)._replace(weight_updates=leaf.visits)
            for leaf in turns
        }

    way = (
        partial(descend, slopes_of_searched, cost)
        if leaves == "together"
        else partial(descend_in_turn, slopes_of_leaf, costs)
    )
    method = way(optimizer, average=average, trained=trained, mesh=mesh, donate=donate)
    return Slopes(**{field.name: getattr(method, field.name) for field in fields(method)})


def _plan_once(settings: Settings) -> Callable[[PyTree, PyTree], list[LeafPlan]]:
    """``plan_leaves``, once for parameters and mini-batches of the same shapes and types."""

    @cache
    def plan(treedef: Any, structs: tuple[jax.ShapeDtypeStruct, ...]) -> list[LeafPlan]:
        return plan_leaves(settings, *jax.tree.unflatten(treedef, structs))

    def of(params: PyTree, batch: PyTree) -> list[LeafPlan]:
        structs, treedef = jax.tree.flatten(structs_of((params, batch)))
        return plan(treedef, tuple(structs))

    return of


def _cost_of(plans: list[LeafPlan], batch: PyTree) -> Cost:
    evaluations = count_evaluations(plans)
    return Cost(evaluations, evaluations * count_examples(batch))
