"""A search as a method: one stage for each leaf that a cycle sweeps."""

from typing import Any

import numpy as np
from jax import Array
from jax.sharding import Mesh

from rso_jax.method import Info, Method, Stage
from rso_jax.search import Search

PyTree = Any


def search_method(search: Search, loss_is_sum: bool = False, mesh: Mesh | None = None) -> Method:
    """A search as a method.

    Args:
        search: from ``rso``.
        loss_is_sum: its loss sums over the mini-batch; ``Info`` has it per example.
        mesh: devices that share the work, the same that the search was made for.
    """

    def stages(key: Array, state: PyTree, batches: PyTree) -> list[Stage]:
        leaves = search.order(key, state, batches)
        return [Stage(leaf.path, search.cuts(state, leaf)) for leaf in leaves]

    def prepare(key: Array, state: PyTree, stage: Stage, batches: PyTree) -> PyTree:
        return search.prepare(key, state, stage.name, batches)

    def advance(
        key: Array, state: PyTree, stage: Stage, prepared: PyTree, start: int, stop: int
    ) -> tuple[PyTree, Info]:
        state, info = search.visit(key, state, stage.name, prepared, start, stop)
        examples = info.image_evaluations // info.candidates if loss_is_sum else 1
        return state, Info(
            loss=_per_example(info.loss, examples),
            accepted=info.accepted,
            not_finite=info.not_finite,
            visits=info.visits,
            decisions=info.decisions,
            weight_updates=info.visits,
            candidates=info.candidates,
            image_evaluations=info.image_evaluations,
            choices=info.choices,
            losses=info.losses,
        )

    return Method(
        init=search.init,
        stages=stages,
        prepare=prepare,
        advance=advance,
        finish=lambda state: state._replace(cycle=state.cycle + 1),
        params=lambda state: state.params,
        trained=search.searched,
        aux=search.aux,
        mesh=mesh,
    )


def _per_example(loss: Array, examples: int) -> Any:
    return loss if examples == 1 else np.asarray(loss, np.float64) * (1.0 / examples)
