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

from rso_jax.descent.epochs import Cost, method_of_epochs
from rso_jax.descent.part import Part, Stepper, averaged, begin_part, make_stepper, step_part
from rso_jax.descent.weights import weights_of, with_weights
from rso_jax.mesh import constrain
from rso_jax.method import Method, weights_among

PyTree = Any

Estimate = Callable[[Array, PyTree, PyTree], tuple[Array, PyTree]]
"""``(key, params, batch)``: the loss, and how it rises along every leaf that is trained; None in
place of the others."""


class DescentState(NamedTuple):
    """Weights, and what is remembered of them from step to step."""

    params: PyTree
    optimizer: PyTree
    average: PyTree = None
    """Of the weights, where one is kept."""


def descend(
    estimate: Estimate,
    cost: Callable[[PyTree, PyTree], Cost],
    optimizer: optax.GradientTransformation,
    *,
    average: float | None = None,
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
        average: decay of an exponential mean of the weights over steps, which is then what is
            scored and stored.
        trained: which leaves it is given, as of ``Method``; it never sees the others.
        mesh: devices that share the examples of a mini-batch; one if not given.
        donate: let a step reuse the memory of the state it is given, which is then gone.

    Raises:
        UserError: an optimizer that is none of optax, or a decay outside (0, 1); from the functions
            of the method, arguments that are something else.
    """
    stepper = make_stepper(optimizer, average)
    # One call for each step: XLA's CPU backend runs the gradient of a convolution many times
    # slower inside a compiled loop.
    step = jax.jit(
        partial(_step, estimate, stepper, trained, mesh),
        donate_argnames="state" if donate else (),
    )

    def begin(key: Array, params: PyTree) -> DescentState:
        part = begin_part(stepper, weights_of(params, trained(params)))
        return DescentState(params, part.optimizer, part.average)

    def run(
        key: Array, state: DescentState, batches: PyTree, start: int, stop: int
    ) -> tuple[DescentState, Array]:
        for i in range(start, stop):
            state, loss = step(key=key, state=state, batches=batches, i=np.int32(i))
        return state, loss

    @jax.jit
    def mean(state: DescentState) -> PyTree:
        return with_weights(state.params, averaged(stepper, _part_of(state, trained)))

    return method_of_epochs(
        "steps",
        DescentState,
        begin=begin,
        run=run,
        cost=lambda state, batch, visits: cost(state.params, batch).times(visits),
        params=(lambda state: state.params) if stepper.average is None else mean,
        trained=trained,
        mesh=mesh,
        donate=donate,
    )


def _step(
    estimate: Estimate,
    stepper: Stepper,
    trained: Callable[[PyTree], PyTree],
    mesh: Mesh | None,
    key: Array,
    state: DescentState,
    batches: PyTree,
    i: Array,
) -> tuple[DescentState, Array]:
    """One step on mini-batch i of the stack, and the loss before it."""
    batch = jax.tree.map(lambda a: a[i], batches)
    loss, slopes = estimate(jax.random.fold_in(key, i), state.params, batch)
    part = step_part(stepper, _part_of(state, trained), slopes)
    params = with_weights(state.params, part.weights)
    return constrain(mesh, (DescentState(params, part.optimizer, part.average), loss))


def _part_of(state: DescentState, trained: Callable[[PyTree], PyTree]) -> Part:
    """All weights that are trained."""
    weights = weights_of(state.params, trained(state.params))
    return Part(weights, state.optimizer, state.average)
