"""Gradient descent by optax, as methods beside the searches.

A cycle is an epoch: one step on each mini-batch of the stack.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh

from rso_jax.baselines.leniency import leniency
from rso_jax.baselines.weights import checked_arrays, count_weights, weights_of, with_weights
from rso_jax.errors import UserError
from rso_jax.mesh import check_divides, constrain, place
from rso_jax.method import Info, Method, Stage
from rso_jax.stacks import stack_shape

PyTree = Any
LossFn = Callable[[PyTree, PyTree], Array]

GRADIENT_COST = 3
"""A gradient in forward passes: one forward, and a backward pass of about two."""


class GradientState(NamedTuple):
    """Weights and optimiser state."""

    params: PyTree
    optimizer: PyTree


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
        loss_fn: ``loss_fn(params, batch)``, a scalar, differentiable.
        optimizer: an optax gradient transformation.
        mesh: devices that share the examples of a mini-batch; one if not given. Its candidate
            axis has nothing to share here.
        donate: let a step reuse the memory of the state it is given, which is then gone.
    """
    # One call for each step: XLA's CPU backend runs the gradient of a convolution many times
    # slower inside a compiled loop.
    step = jax.jit(
        partial(_step, loss_fn, optimizer, mesh), donate_argnames="state" if donate else ()
    )

    def init(key: Array, params: PyTree) -> GradientState:
        params = checked_arrays(params)
        if donate:
            params = jax.tree.map(jnp.array, params)
        with leniency():
            state = GradientState(params, optimizer.init(weights_of(params)))
        return place(mesh, state)

    def stages(key: Array, state: PyTree, batches: PyTree) -> list[Stage]:
        check_divides(mesh, stack_shape(batches)[1])
        return [Stage("steps", np.arange(stack_shape(batches)[0] + 1))]

    def advance(
        key: Array, state: PyTree, stage: Stage, prepared: PyTree, start: int, stop: int
    ) -> tuple[PyTree, Info]:
        for i in range(start, stop):
            state, loss = step(state=state, batches=prepared, i=np.int32(i))
        steps, batch_size = stop - start, stack_shape(prepared)[1]
        return state, Info(
            loss=loss,
            accepted=jnp.asarray(steps),
            visits=steps,
            decisions=steps,
            weight_updates=steps * count_weights(state.params),
            image_evaluations=GRADIENT_COST * steps * batch_size,
        )

    return Method(
        init=init,
        stages=stages,
        prepare=lambda key, state, stage, batches: batches,
        advance=advance,
        mesh=mesh,
    )


def _step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    mesh: Mesh | None,
    state: GradientState,
    batches: PyTree,
    i: Array,
) -> tuple[GradientState, Array]:
    """One step on mini-batch i of the stack, and the loss before it."""
    batch = jax.tree.map(lambda a: a[i], batches)
    weights = weights_of(state.params)

    def loss_of_weights(weights: PyTree) -> Array:
        return loss_fn(with_weights(state.params, weights), batch)

    loss, gradient = jax.value_and_grad(loss_of_weights)(weights)
    with leniency():
        updates, optimizer_state = optimizer.update(gradient, state.optimizer, weights)
    # A float64 schedule (64-bit mode) must not promote float32 weights.
    updates = jax.tree.map(lambda u, p: u.astype(p.dtype), updates, weights)
    params = with_weights(state.params, optax.apply_updates(weights, updates))
    return constrain(mesh, (GradientState(params, optimizer_state), loss))
