"""Steps of an optax optimiser as a method, whatever estimates the direction.

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

from rso_jax.arguments import check_key, check_type, check_visits
from rso_jax.arrays import kind_of
from rso_jax.descent.leniency import leniency
from rso_jax.descent.weights import checked_arrays, count_weights, weights_of, with_weights
from rso_jax.errors import UserError
from rso_jax.mesh import check_divides, constrain, place
from rso_jax.method import Info, Method, Stage, check_stage
from rso_jax.stacks import one_of_stack, stack_shape

PyTree = Any

STAGE = "steps"
"""Name of the one stage of a cycle."""


class Cost(NamedTuple):
    """What the estimate of one step costs."""

    candidates: int
    """Evaluated; 0 where derivatives are taken."""
    image_evaluations: int
    """Forward passes of one example, or their equivalent."""


Estimate = Callable[[Array, PyTree, PyTree], tuple[Array, PyTree]]
"""``(key, params, batch)``: the loss, and how it rises along every leaf that holds weights; None in
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
        partial(_step, estimate, optimizer, mesh), donate_argnames="state" if donate else ()
    )

    def init(key: Array, params: PyTree) -> DescentState:
        check_key(key)
        params = checked_arrays(params)
        if donate:
            params = jax.tree.map(jnp.array, params)
        with leniency():
            state = DescentState(params, optimizer.init(weights_of(params)))
        return place(mesh, state)

    def stages(key: Array, state: PyTree, batches: PyTree) -> list[Stage]:
        check_key(key)
        check_type("state", state, DescentState, "init or step returned")
        check_divides(mesh, stack_shape(batches)[1])
        return [Stage(STAGE, np.arange(stack_shape(batches)[0] + 1))]

    def prepare(key: Array, state: PyTree, stage: Stage, batches: PyTree) -> PyTree:
        check_stage(stage, STAGE)
        return batches

    def advance(
        key: Array, state: PyTree, stage: Stage, prepared: PyTree, start: int, stop: int
    ) -> tuple[PyTree, Info]:
        check_key(key)
        check_type("state", state, DescentState, "init or step returned")
        check_stage(stage, STAGE)
        start, stop = check_visits(STAGE, stack_shape(prepared)[0], start, stop, fewest=1)
        for i in range(start, stop):
            state, loss = step(key=key, state=state, batches=prepared, i=np.int32(i))
        steps, each = stop - start, cost(state.params, one_of_stack(prepared))
        return state, Info(
            loss=loss,
            accepted=jnp.asarray(steps),
            visits=steps,
            decisions=steps,
            weight_updates=steps * count_weights(state.params),
            candidates=steps * each.candidates,
            image_evaluations=steps * each.image_evaluations,
        )

    return Method(
        init=init,
        stages=stages,
        prepare=prepare,
        advance=advance,
        mesh=mesh,
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
    mesh: Mesh | None,
    key: Array,
    state: DescentState,
    batches: PyTree,
    i: Array,
) -> tuple[DescentState, Array]:
    """One step on mini-batch i of the stack, and the loss before it."""
    batch = jax.tree.map(lambda a: a[i], batches)
    weights = weights_of(state.params)
    loss, slopes = estimate(jax.random.fold_in(key, i), state.params, batch)
    with leniency():
        updates, optimizer_state = optimizer.update(slopes, state.optimizer, weights)
    # A float64 schedule (64-bit mode) must not promote float32 weights.
    updates = jax.tree.map(lambda u, p: u.astype(p.dtype), updates, weights)
    params = with_weights(state.params, optax.apply_updates(weights, updates))
    return constrain(mesh, (DescentState(params, optimizer_state), loss))
