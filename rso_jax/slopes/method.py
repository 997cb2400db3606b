"""Descent along slopes as a method: any optax optimiser, no derivative."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import optax
from jax import Array
from jax.sharding import Mesh

from rso_jax.arguments import check_callable
from rso_jax.arrays import structs_of
from rso_jax.descent import descend
from rso_jax.descent.epochs import Cost
from rso_jax.descent.weights import weights_of
from rso_jax.leaves import Outputs, mark_searched
from rso_jax.method import Method
from rso_jax.slopes.estimate import estimate
from rso_jax.slopes.examples import LossesFn
from rso_jax.slopes.planning import Settings, count_evaluations, plan_leaves
from rso_jax.slopes.probes import Probes, cheapest
from rso_jax.stacks import count_examples

PyTree = Any


def slopes_method(
    losses_fn: LossesFn,
    optimizer: optax.GradientTransformation,
    probes: Probes | None = None,
    *,
    searched: Callable[[str], bool] | PyTree | None = None,
    outputs: Outputs | None = None,
    memory_budget: int = 2**30,
    mesh: Mesh | None = None,
    donate: bool = False,
) -> Method:
    """Any optax optimiser along slopes from evaluations: a visit for each mini-batch.

    Args:
        losses_fn: as of ``value_and_slopes``.
        optimizer: an optax gradient transformation; of leaves that are not searched it knows
            nothing.
        probes: as of ``value_and_slopes``.
        searched: likewise.
        outputs: likewise.
        memory_budget: likewise.
        mesh: devices that share the examples of a mini-batch; one if not given.
        donate: let a step reuse the memory of the state it is given, which is then gone.

    Raises:
        UserError: a loss that is no function, or an optimizer that is none of optax.
    """
    check_callable("losses_fn", losses_fn)
    settings = Settings(losses_fn, probes or cheapest(), searched, outputs, memory_budget)

    trained = partial(mark_searched, searched=searched)

    def slopes_of_searched(key: Array, params: PyTree, batch: PyTree) -> tuple[Array, PyTree]:
        value, slopes, _ = estimate(settings, key, params, batch)
        return value, weights_of(slopes, trained(params))

    @cache
    def count(treedef: Any, structs: tuple[jax.ShapeDtypeStruct, ...]) -> Cost:
        params, batch = jax.tree.unflatten(treedef, structs)
        evaluations = count_evaluations(plan_leaves(settings, params, batch))
        return Cost(evaluations, evaluations * count_examples(batch))

    def cost(params: PyTree, batch: PyTree) -> Cost:
        structs, treedef = jax.tree.flatten(structs_of((params, batch)))
        return count(treedef, tuple(structs))

    return descend(slopes_of_searched, cost, optimizer, trained=trained, mesh=mesh, donate=donate)
