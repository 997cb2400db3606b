"""Methods whose cycle is an epoch: one stage, one visit for each mini-batch of the stack."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from rso_jax.arguments import check_key, check_type, check_visits
from rso_jax.descent.weights import checked_arrays
from rso_jax.mesh import check_divides, place
from rso_jax.method import Info, Method, Stage, check_stage, count_trained, weights_among
from rso_jax.stacks import one_of_stack, stack_shape

PyTree = Any


class Cost(NamedTuple):
    """What one visit costs."""

    candidates: int
    """Evaluated; 0 of a baseline."""
    image_evaluations: int
    """Forward passes of one example, or their equivalent."""


def method_of_epochs(
    name: str,
    kind: type,
    *,
    begin: Callable[[Array, PyTree], PyTree],
    run: Callable[[Array, PyTree, PyTree, int, int], tuple[PyTree, Array]],
    cost: Callable[[PyTree, PyTree], Cost],
    check: Callable[[PyTree], None] = lambda params: None,
    trained: Callable[[PyTree], PyTree] = weights_among,
    mesh: Mesh | None = None,
    donate: bool = False,
) -> Method:
    """A method of what it does in some visits.

    Args:
        name: of its stage.
        kind: of its states, which hold ``params``.
        begin: ``(key, params)``: the state before the first cycle.
        run: ``(key, state, batches, start, stop)``: the state after some visits, and the loss of
            the last of them.
        cost: ``(params, batch)``: of a visit, from shapes and types.
        check: refuses parameters, or a mesh for them, before a cycle.
        trained: which leaves are trained, as of ``Method``.
        mesh: devices that share the work; one if not given.
        donate: whether ``run`` reuses the memory of its state, so that ``init`` copies.
    """

    def init(key: Array, params: PyTree) -> PyTree:
        check_key(key)
        params = checked_arrays(params)
        return place(mesh, begin(key, jax.tree.map(jnp.array, params) if donate else params))

    def check_state(key: Array, state: PyTree) -> None:
        check_key(key)
        check_type("state", state, kind, "init or step returned")

    def stages(key: Array, state: PyTree, batches: PyTree) -> list[Stage]:
        check_state(key, state)
        count, batch_size = stack_shape(batches)
        check_divides(mesh, batch_size)
        check(state.params)
        return [Stage(name, np.arange(count + 1))]

    def prepare(key: Array, state: PyTree, stage: Stage, batches: PyTree) -> PyTree:
        check_stage(stage, name)
        return batches

    def advance(
        key: Array, state: PyTree, stage: Stage, prepared: PyTree, start: int, stop: int
    ) -> tuple[PyTree, Info]:
        check_state(key, state)
        check_stage(stage, name)
        start, stop = check_visits(name, stack_shape(prepared)[0], start, stop, fewest=1)
        state, loss = run(key, state, prepared, start, stop)
        visits, each = stop - start, cost(state.params, one_of_stack(prepared))
        return state, Info(
            loss=loss,
            accepted=jnp.asarray(visits),
            visits=visits,
            decisions=visits,
            weight_updates=visits * count_trained(method, state.params),
            candidates=visits * each.candidates,
            image_evaluations=visits * each.image_evaluations,
        )

    method = Method(
        init=init, stages=stages, prepare=prepare, advance=advance, trained=trained, mesh=mesh
    )
    return method
