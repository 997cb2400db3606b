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
from rso_jax.stacks import check_stack, one_of_stack, stack_shape

PyTree = Any


class Cost(NamedTuple):
    """What a visit costs, or several."""

    candidates: int
    """Evaluated; 0 of a baseline."""
    image_evaluations: int
    """Forward passes of one example, or their equivalent."""
    weight_updates: int | None = None
    """Weights that are stepped; all that are trained at every visit, if None."""

    def times(self, visits: int) -> "Cost":
        """What so many visits like this one cost."""
        updates = None if self.weight_updates is None else visits * self.weight_updates
        return Cost(visits * self.candidates, visits * self.image_evaluations, updates)


def method_of_epochs(
    name: str,
    kind: type,
    *,
    begin: Callable[[Array, PyTree], PyTree],
    run: Callable[[Array, PyTree, PyTree, int, int], tuple[PyTree, Array]],
    cost: Callable[[PyTree, PyTree, int], Cost],
    check: Callable[[PyTree], None] = lambda params: None,
    params: Callable[[PyTree], PyTree] = lambda state: state.params,
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
        cost: ``(state, batch, visits)``: of the next visits, from shapes and types of a mini-batch.
        check: refuses parameters, or a mesh for them, before a cycle.
        params: ``(state)``: the parameters to score and to store, as of ``Method``.
        trained: which leaves are trained, as of ``Method``.
        mesh: devices that share the work; one if not given.
        donate: whether ``run`` reuses the memory of its state, so that ``init`` copies.
    """

    def init(key: Array, params: PyTree) -> PyTree:
        check_key(key)
        state = begin(key, checked_arrays(params))
        # Some optimisers keep the first parameters too: no memory is given away twice.
        return place(mesh, jax.tree.map(jnp.array, state) if donate else state)

    def check_state(key: Array, state: PyTree) -> None:
        check_key(key)
        check_type("state", state, kind, "init or step returned")

    def stages(key: Array, state: PyTree, batches: PyTree) -> list[Stage]:
        check_state(key, state)
        check_stack("batches", batches)
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
        visits = stop - start
        done = cost(state, one_of_stack(prepared), visits)
        state, loss = run(key, state, prepared, start, stop)
        updates = done.weight_updates
        return state, Info(
            loss=loss,
            accepted=jnp.asarray(visits),
            visits=visits,
            decisions=visits,
            weight_updates=visits * count_trained(method, state.params)
            if updates is None
            else updates,
            candidates=done.candidates,
            image_evaluations=done.image_evaluations,
        )

    method = Method(
        init=init,
        stages=stages,
        prepare=prepare,
        advance=advance,
        params=params,
        trained=trained,
        mesh=mesh,
    )
    return method
