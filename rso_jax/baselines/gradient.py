"""Gradient descent by optax, as methods beside the searches.

A cycle is an epoch: one step on each mini-batch of the stack.
"""

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import jax
import optax
from jax import Array
from jax.sharding import Mesh

from rso_jax.arguments import check_callable
from rso_jax.baselines.losses import list_losses
from rso_jax.descent import descend
from rso_jax.descent.epochs import Cost
from rso_jax.descent.weights import weights_of, with_weights
from rso_jax.errors import UserError
from rso_jax.method import Method
from rso_jax.stacks import count_examples

PyTree = Any
LossFn = Callable[[PyTree, PyTree], Any]

GRADIENT_COST = 3
"""A gradient in forward passes: one forward, and a backward pass of about two."""


def cosine_sgd(
    *, learning_rate: float, steps: int, momentum: float = 0.9, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """SGD with Nesterov momentum, a cosine schedule to 0 and L2 weight decay.

    Args:
        learning_rate: of the first step.
        steps: of the whole run.
        momentum: in [0, 1).
        weight_decay: coefficient of the L2 penalty, added to the gradient.
    """
    if not 0 <= momentum < 1:
        raise UserError(f"momentum is {momentum}; it must be at least 0 and below 1")
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.sgd(_cosine(learning_rate, steps), momentum, nesterov=True),
    )


def cosine_adam(
    *, learning_rate: float, steps: int, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Adam with a cosine schedule to 0 and decoupled weight decay (Loshchilov & Hutter 2019).

    Args:
        learning_rate: of the first step.
        steps: of the whole run.
        weight_decay: share by which a weight shrinks at each step, times the learning rate.
    """
    return optax.adamw(_cosine(learning_rate, steps), weight_decay=weight_decay)


def _cosine(learning_rate: float, steps: int) -> optax.Schedule:
    if learning_rate <= 0:
        raise UserError(f"learning_rate is {learning_rate}; it must be above 0")
    return optax.cosine_decay_schedule(learning_rate, max(steps, 1))


def gradient_method(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    mesh: Mesh | None = None,
    donate: bool = False,
) -> Method:
    """Any optax optimiser as a method: one stage, one visit for each mini-batch.

    Leaves that are not real floating point (integers, keys, complex numbers) are passed through.
    Its ``init`` refuses those that are no arrays.

    Args:
        loss_fn: ``loss_fn(params, batch)``, a scalar, differentiable; or a tuple or a mapping of
            them, as of a network with local heads. Their sum is lowered, with gradients through all
            layers (deep supervision: Lee et al., arXiv 1409.5185); the loss reported is the last.
        optimizer: an optax gradient transformation.
        mesh: devices that share the examples of a mini-batch; one if not given. Its candidate
            axis has nothing to share here.
        donate: let a step reuse the memory of the state it is given, which is then gone.

    Raises:
        UserError: a loss that is no function, or an optimizer that is none of optax.
    """
    check_callable("loss_fn", loss_fn)

    def estimate(key: Array, params: PyTree, batch: PyTree) -> tuple[Array, PyTree]:
        del key

        def loss_of_weights(weights: PyTree) -> tuple[Array, Array]:
            losses = list_losses(loss_fn(with_weights(params, weights), batch))
            return reduce(operator.add, losses), losses[-1]

        gradient, loss = jax.grad(loss_of_weights, has_aux=True)(weights_of(params))
        return loss, gradient

    def cost(params: PyTree, batch: PyTree) -> Cost:
        return Cost(0, GRADIENT_COST * count_examples(batch))

    return descend(estimate, cost, optimizer, mesh=mesh, donate=donate)
