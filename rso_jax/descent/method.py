"""Steps of an optax optimiser as a method, whatever estimates the direction.

A cycle is an epoch: one step on each mini-batch of the stack.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh

from rso_jax.arrays import kind_of
from rso_jax.descent.epochs import Cost, method_of_epochs
from rso_jax.descent.leniency import leniency
from rso_jax.descent.weights import weights_of, with_weights
from rso_jax.errors import UserError
from rso_jax.mesh import constrain
from rso_jax.method import Method, weights_among

PyTree = Any

Estimate = Callable[[Array, PyTree, PyTree], tuple[Array, PyTree]]
"""``(key, params, batch)``: the loss, and how it rises along every leaf that is trained; None in
place of the others."""


class DescentState(NamedTuple):
    """Weights and optimiser state."""

    params: PyTree
    optimizer: PyTree


def descend(
    estimate: Estimate,
    cost: Callable[[PyTree, PyTree], Cost],
    optimizer: optax.GradientTransformation,
    *,
    trained: Callable[[PyTree], PyTree] = weights_among,
    mesh: Mesh | None = None,
    donate: bool = False,
) -> Method:
    """Any optax optimiser as a method: one stage, one visit for each mini-batch.

    Leaves that are not real floating point (integers, keys, complex numbers) are passed through.
    Its ``init`` refuses those that are no arrays.

    Args:
        estimate: of the loss and its slopes on a mini-batch.
        cost: ``(params, batch)``: of an estimate, from shapes and types.
        optimizer: an optax gradient transformation.
        trained: which leaves it is given, as of ``Method``; it never sees the others.
        mesh: devices that share the examples of a mini-batch; one if not given.
        donate: let a step reuse the memory of the state it is given, which is then gone.

    Raises:
        UserError: an optimizer that is none of optax; from the functions of the method, arguments
            that are something else.
    """
    _check_optimizer(optimizer)
    # One call for each step: XLA's CPU backend runs the gradient of a convolution many times
    # slower inside a compiled loop.
    step = jax.jit(
        partial(_step, estimate, optimizer, trained, mesh),
        donate_argnames="state" if donate else (),
    )

    def begin(key: Array, params: PyTree) -> DescentState:
        with leniency():
            return DescentState(params, optimizer.init(weights_of(params, trained(params))))

    def run(
        key: Array, state: DescentState, batches: PyTree, start: int, stop: int
    ) -> tuple[DescentState, Array]:
        for i in range(start, stop):
            state, loss = step(key=key, state=state, batches=batches, i=np.int32(i))
        return state, loss

    return method_of_epochs(
        "steps",
        DescentState,
        begin=begin,
        run=run,
        cost=cost,
        trained=trained,
        mesh=mesh,
        donate=donate,
    )


def _check_optimizer(optimizer: Any) -> None:
    # Some of optax's own are no GradientTransformation, but have its two functions.
    if not all(callable(getattr(optimizer, name, None)) for name in ("init", "update")):
        raise UserError(
            f"optimizer is {kind_of(optimizer)}; pass an optax gradient transformation, as "
            "optax.sgd(0.1) makes"
        )


def _step(
    estimate: Estimate,
    optimizer: optax.GradientTransformation,
    trained: Callable[[PyTree], PyTree],
    mesh: Mesh | None,
    key: Array,
    state: DescentState,
    batches: PyTree,
    i: Array,
) -> tuple[DescentState, Array]:
    """One step on mini-batch i of the stack, and the loss before it."""
    batch = jax.tree.map(lambda a: a[i], batches)
    weights = weights_of(state.params, trained(state.params))
    loss, slopes = estimate(jax.random.fold_in(key, i), state.params, batch)
    with leniency():
        updates, optimizer_state = optimizer.update(slopes, state.optimizer, weights)
    # A float64 schedule (64-bit mode) must not promote float32 weights.
    updates = jax.tree.map(lambda u, p: u.astype(p.dtype), updates, weights)
    params = with_weights(state.params, optax.apply_updates(weights, updates))
    return constrain(mesh, (DescentState(params, optimizer_state), loss))
