"""Descent along slopes as a method: any optax optimiser, no derivative."""

from functools import cache
from typing import Any

import jax
import optax
from jax import Array
from jax.sharding import Mesh

from rso_jax.arguments import check_callable
from rso_jax.arrays import structs_of
from rso_jax.descent import descend
from rso_jax.descent.method import Cost
from rso_jax.descent.weights import weights_of
from rso_jax.method import Method
from rso_jax.slopes.estimate import count_evaluations, value_and_slopes
from rso_jax.slopes.examples import LossesFn, count_examples

PyTree = Any


def slopes_method(
    losses_fn: LossesFn,
    optimizer: optax.GradientTransformation,
    *,
    mesh: Mesh | None = None,
    donate: bool = False,
    **options: Any,
) -> Method:
    """Any optax optimiser along slopes from evaluations: a visit for each mini-batch.

    Args:
        losses_fn: as of ``value_and_slopes``.
        optimizer: an optax gradient transformation.
        mesh: devices that share the examples of a mini-batch; one if not given.
        donate: let a step reuse the memory of the state it is given, which is then gone.
        **options: of ``value_and_slopes``: ``probes``, ``searched``, and so on.

    Raises:
        UserError: a loss that is no function, or an optimizer that is none of optax.
    """
    check_callable("losses_fn", losses_fn)
    estimate = value_and_slopes(losses_fn, **options)

    def of_weights(key: Array, params: PyTree, batch: PyTree) -> tuple[Array, PyTree]:
        value, slopes, _ = estimate(key, params, batch)
        weights = weights_of(params)
        kept = jax.tree.map(
            lambda w, s: None if w is None else s, weights, slopes, is_leaf=lambda a: a is None
        )
        return value, kept

    @cache
    def count(treedef: Any, structs: tuple[jax.ShapeDtypeStruct, ...]) -> Cost:
        params, batch = jax.tree.unflatten(treedef, structs)
        evaluations = count_evaluations(losses_fn, params, batch, **options)
        return Cost(evaluations, evaluations * count_examples(batch))

    def cost(params: PyTree, batch: PyTree) -> Cost:
        structs, treedef = jax.tree.flatten(structs_of((params, batch)))
        return count(treedef, tuple(structs))

    return descend(of_weights, cost, optimizer, mesh=mesh, donate=donate)
