"""SPSA: slopes of all weights at once, from pairs of evaluations along random directions.

Spall, "Multivariate Stochastic Approximation Using a Simultaneous Perturbation Gradient
Approximation", 1992. A pair moves all weights by ``eps`` along one direction and against it, both
on the same mini-batch; the difference of the two losses is one number about the slopes of all
weights. Along directions drawn from the normal distribution the same is what evolution strategies
with antithetic sampling estimate, before they rank.
"""

from collections.abc import Callable
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jax.sharding import Mesh

from rso_jax.arguments import check_callable
from rso_jax.arrays import kind_of
from rso_jax.baselines.evolution import LossFn
from rso_jax.baselines.losses import sum_losses
from rso_jax.candidates import candidate_axis_of, evaluate_candidates
from rso_jax.descent import descend
from rso_jax.descent.epochs import Cost
from rso_jax.descent.leniency import leniency
from rso_jax.descent.weights import weights_of, with_weights
from rso_jax.errors import UserError
from rso_jax.method import Method
from rso_jax.stacks import count_examples

PyTree = Any

Draw = Callable[[Array, tuple[int, ...], Any], Array]
"""``(key, shape, dtype)``: part of a direction, its numbers independent, of mean 0 and variance 1;
as ``jax.random.rademacher`` and ``jax.random.normal`` do."""


def spsa_method(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    eps: float,
    pairs: int = 1,
    mesh: Mesh | None = None,
    donate: bool = False,
) -> Method:
    """SPSA as a method: any optax optimiser along its slopes, a visit for each mini-batch.

    Leaves that are not real floating point are passed through.

    Args:
        loss_fn: ``loss_fn(params, batch)``, a scalar; of several, in a tuple or a mapping, their
            sum. A pair of which one is not finite tells nothing.
        optimizer: an optax gradient transformation.
        eps: length of a move, in each weight; in the units of the weights.
        pairs: of evaluations in an estimate, each along a direction of its own; averaged.
        mesh: devices that share pairs and mini-batch; one if not given.
        donate: let a step reuse the memory of the state it is given, which is then gone.

    Raises:
        UserError: a number that cannot work, a loss that is no function, or an optimizer that is
            none of optax.
    """
    estimate = antithetic_slopes(loss_fn, eps=eps, pairs=pairs, mesh=mesh)

    def cost(params: PyTree, batch: PyTree) -> Cost:
        return Cost(0, 2 * pairs * count_examples(batch))

    return descend(estimate, cost, optimizer, mesh=mesh, donate=donate)


def antithetic_slopes(
    loss_fn: LossFn,
    *,
    eps: float,
    pairs: int = 1,
    draw: Draw = jax.random.rademacher,
    mesh: Mesh | None = None,
) -> Callable[[Array, PyTree, PyTree], tuple[Array, PyTree]]:
    """Estimates of the slopes of all weights from pairs of evaluations.

    Args:
        loss_fn: as of ``spsa_method``.
        eps: likewise.
        pairs: likewise.
        draw: of what distribution directions are.
        mesh: as of ``spsa_method``.

    Returns:
        ``estimate(key, params, batch) -> (loss, slopes)``: the mean loss of all evaluations, and
        slopes in the places of the weights, None in those of other leaves.

    Raises:
        UserError: a number that cannot work, or a loss that is no function.
    """
    check_callable("loss_fn", loss_fn)
    loss_fn = sum_losses(loss_fn)
    _check_numbers(eps, pairs)

    def estimate(key: Array, params: PyTree, batch: PyTree) -> tuple[Array, PyTree]:
        weights = weights_of(params)

        def direction(pair: Array) -> PyTree:
            return _draw_like(weights, jax.random.fold_in(key, pair), draw)

        def loss_of_move(pair: Array, sign: Array) -> Array:
            moved = _add_scaled(weights, sign * eps, direction(pair))
            return loss_fn(with_weights(params, moved), batch)

        in_turn = candidate_axis_of(loss_fn, params, batch, mesh) == "map"
        numbers = jnp.repeat(np.arange(pairs, dtype=np.int32), 2)
        signs = jnp.tile(np.array([1, -1], np.float32), pairs)
        at_once = 1 if in_turn else 2 * pairs
        losses = evaluate_candidates(loss_of_move, (numbers, signs), at_once, mesh)
        changes = losses[::2] - losses[1::2]
        rates = jnp.where(jnp.isfinite(changes), changes, 0) / (2 * eps * pairs)
        return jnp.mean(losses), _sum_along(direction, rates, weights)

    return estimate


def _check_numbers(eps: Any, pairs: Any) -> None:
    if not eps > 0 or not np.isfinite(eps):
        raise UserError(f"eps is {eps}; it must be above 0 and finite")
    if not isinstance(pairs, Integral) or isinstance(pairs, bool) or pairs < 1:
        shown = pairs if isinstance(pairs, int | float) else kind_of(pairs)
        raise UserError(f"pairs is {shown}; it must be a whole number, at least 1")


def _draw_like(weights: PyTree, key: Array, draw: Draw) -> PyTree:
    """A direction, of the shapes and types of the weights."""
    arrays, treedef = jax.tree.flatten(weights)
    keys = jax.random.split(key, len(arrays))
    parts = [draw(k, a.shape, a.dtype) for k, a in zip(keys, arrays, strict=True)]
    return jax.tree.unflatten(treedef, parts)


def _add_scaled(tree: PyTree, rate: Array, direction: PyTree) -> PyTree:
    """A tree, and so much of a direction, in the tree's types."""
    with leniency():
        return jax.tree.map(lambda a, d: (a + rate * d).astype(a.dtype), tree, direction)


def _sum_along(direction: Callable[[Array], PyTree], rates: Array, like: PyTree) -> PyTree:
    """The sum of all directions, each as long as its rate; drawn again, so that one is held."""

    def add(total: PyTree, one: tuple[Array, Array]) -> tuple[PyTree, None]:
        pair, rate = one
        return _add_scaled(total, rate, direction(pair)), None

    numbers = jnp.arange(rates.size, dtype=jnp.int32)
    total, _ = lax.scan(add, jax.tree.map(jnp.zeros_like, like), (numbers, rates))
    return total
