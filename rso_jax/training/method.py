"""A search whose loss sums over the mini-batch, told of one example."""

import dataclasses
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
    del mesh
    if not loss_is_sum:
        return search

    def advance(
        key: Array, state: PyTree, stage: Stage, prepared: PyTree, start: int, stop: int
    ) -> tuple[PyTree, Info]:
        state, info = search.advance(key, state, stage, prepared, start, stop)
        examples = info.image_evaluations // info.candidates
        loss: Any = np.asarray(info.loss, np.float64) * (1.0 / examples)
        return state, info._replace(loss=loss)

    return dataclasses.replace(search, advance=advance)
