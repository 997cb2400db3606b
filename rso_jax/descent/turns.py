"""Steps of an optax optimiser that leaves take in turn, each on a mini-batch of its own."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh

from rso_jax.descent.epochs import Cost, method_of_epochs
from rso_jax.descent.part import Part, Stepper, averaged, begin_part, make_stepper, step_part
from rso_jax.descent.weights import with_weights
from rso_jax.mesh import constrain, place
from rso_jax.method import Method, weights_among
from rso_jax.stacks import one_of_stack

PyTree = Any

LeafEstimate = Callable[[Array, PyTree, PyTree, int], tuple[Array, Array]]
"""``(key, params, batch, position)``: the loss, and how it rises along one leaf, by its place among
all leaves of the parameters."""


class TurnsState(NamedTuple):
    """Weights, and what is remembered of each leaf from one of its steps to the next."""

    params: PyTree
    optimizer: tuple[PyTree, ...]
    """By the place of the leaf; None for one that is not trained."""
    average: tuple[PyTree, ...]
    """Likewise, of the weights, where one is kept."""
    visits: Array
    """Made so far, integer scalar: whose turn it is follows from it."""


def descend_in_turn(
    estimate: LeafEstimate,
    costs: Callable[[PyTree, PyTree], dict[int, Cost]],
    optimizer: optax.GradientTransformation,
    *,
    average: float | None = None,
    trained: Callable[[PyTree], PyTree] = weights_among,
    mesh: Mesh | None = None,
    donate: bool = False,
) -> Method:
    """Any optax optimiser as a method, of one leaf at a visit: a visit for each mini-batch.

    Each leaf has an optimiser state of its own, which counts the steps of that leaf. Where a cycle
    ends the next goes on with the leaf whose turn it is.

    Args:
        estimate: of the loss and its slopes along a leaf; compiled once for each.
        costs: ``(params, batch)``: of a visit of each leaf by its place, in the order in which
            leaves take turns.
        optimizer: as of ``descend``.
        average: likewise; of a leaf over its own steps.
        trained: likewise.
        mesh: likewise.
        donate: likewise.

    Raises:
        UserError: as ``descend``.
    """
    stepper = make_stepper(optimizer, average)
    step = jax.jit(
        partial(_step, estimate, stepper, mesh),
        static_argnames=("treedef", "at"),
        donate_argnames="part" if donate else (),
    )

    def begin(key: Array, params: PyTree) -> TurnsState:
        parts = [
            begin_part(stepper, _alone(params, at)) if is_one else Part(None, None, None)
            for at, is_one in enumerate(jax.tree.leaves(trained(params)))
        ]
        _, optimizers, averages = zip(*parts, strict=True)
        return TurnsState(params, optimizers, averages, jnp.int32(0))

    def run(
        key: Array, state: TurnsState, batches: PyTree, start: int, stop: int
    ) -> tuple[TurnsState, Array]:
        turns = _next_turns(costs(state.params, one_of_stack(batches)), state, stop - start)
        params, treedef = jax.tree.flatten(state.params)
        optimizers, averages = list(state.optimizer), list(state.average)
        for i, at in enumerate(turns, start):
            # Only what changes goes through the call, so that the rest is not copied.
            part, loss = step(
                key=key,
                part=Part(params[at], optimizers[at], averages[at]),
                others=[*params[:at], *params[at + 1 :]],
                batches=batches,
                i=np.int32(i),
                treedef=treedef,
                at=at,
            )
            params[at], optimizers[at], averages[at] = part
        made = place(mesh, np.int32(int(state.visits) + stop - start))
        params = jax.tree.unflatten(treedef, params)
        return TurnsState(params, tuple(optimizers), tuple(averages), made), loss

    def cost(state: TurnsState, batch: PyTree, visits: int) -> Cost:
        known = costs(state.params, batch)
        each = [known[at] for at in _next_turns(known, state, visits)]
        return Cost(*map(sum, zip(*each, strict=True)))

    @jax.jit
    def mean(state: TurnsState) -> PyTree:
        return _means(stepper, state)

    return method_of_epochs(
        "steps",
        TurnsState,
        begin=begin,
        run=run,
        cost=cost,
        params=(lambda state: state.params) if stepper.average is None else mean,
        trained=trained,
        mesh=mesh,
        donate=donate,
    )


def _next_turns(costs: dict[int, Cost], state: TurnsState, visits: int) -> list[int]:
    """Places of the leaves whose turn it is in the next visits."""
    order, made = list(costs), int(state.visits)
    return [order[(made + i) % len(order)] for i in range(visits)]


def _step(
    estimate: LeafEstimate,
    stepper: Stepper,
    mesh: Mesh | None,
    key: Array,
    part: Part,
    others: list[Array],
    batches: PyTree,
    i: Array,
    treedef: Any,
    at: int,
) -> tuple[Part, Array]:
    """One step of a leaf on mini-batch i of the stack, and the loss before it."""
    batch = jax.tree.map(lambda a: a[i], batches)
    params = jax.tree.unflatten(treedef, [*others[:at], part.weights, *others[at:]])
    loss, slopes = estimate(jax.random.fold_in(key, i), params, batch, at)
    alone = part._replace(weights=_alone(params, at))
    stepped = step_part(stepper, alone, _only(treedef, slopes, at))
    (weights,) = jax.tree.leaves(stepped.weights)
    return constrain(mesh, (stepped._replace(weights=weights), loss))


def _means(stepper: Stepper, state: TurnsState) -> PyTree:
    """The parameters, every leaf that is trained the mean of its own."""
    params = state.params
    for at, (optimizer, average) in enumerate(zip(state.optimizer, state.average, strict=True)):
        if average is not None:
            part = Part(_alone(state.params, at), optimizer, average)
            params = with_weights(params, averaged(stepper, part))
    return params


def _alone(params: PyTree, at: int) -> PyTree:
    """One leaf in its place, None in those of the others."""
    arrays, treedef = jax.tree.flatten(params)
    return _only(treedef, arrays[at], at)


def _only(treedef: Any, array: Array, at: int) -> PyTree:
    return jax.tree.unflatten(
        treedef, [array if i == at else None for i in range(treedef.num_leaves)]
    )
