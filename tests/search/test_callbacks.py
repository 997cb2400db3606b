"""Losses that call back to the host: one candidate at a time is one call at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rso_jax import rso, step
from rso_jax.search import joint, minibatches
from rso_jax.search.joint import Block

KEY = jax.random.key(4)
PARAMS = {"w": jax.random.normal(KEY, (3, 2)), "c": jnp.ones(2)}
SEARCHED = {"w": True, "c": False}
BATCHES = jax.random.normal(KEY, (2, 4, 3))
VARIANTS = {
    "visits": {},
    "one mini-batch": {"minibatches": minibatches.per_leaf},
    "full": {"evaluation": "full"},
    "part of a column": {"block": Block(2, joint.accepted())},
    "whole columns": {"block": Block("leaf", joint.accepted()), "evaluation": "full"},
    "no probes": {"block": Block("column", joint.together, probe=False)},
}


def host_loss(called):
    """A loss that NumPy computes, of one candidate only: no ``vmap_method``."""

    def on_host(h):
        called.append(np.shape(h))
        return np.asarray(np.tanh(h).sum() ** 2, np.float32)

    def loss(params, batch):
        h = batch @ params["w"] + params["c"]
        return jax.pure_callback(on_host, jax.ShapeDtypeStruct((), jnp.float32), h)

    return loss


def jax_loss(params, batch):
    return jnp.tanh(batch @ params["w"] + params["c"]).sum() ** 2


@pytest.mark.parametrize(("variant", "axis"), [*((v, "map") for v in VARIANTS), ("visits", None)])
def test_one_call_for_every_candidate(variant, axis):
    called = []
    settings = VARIANTS[variant] | {"searched": SEARCHED}
    search = rso(host_loss(called), candidate_axis=axis, **settings)
    state, info = step(search, KEY, search.init(KEY, PARAMS), BATCHES)
    jax.block_until_ready(state)
    assert len(called) * 4 == info.image_evaluations
    assert set(called) == {(4, 2)}
    reference = rso(jax_loss, **settings)
    expected, _ = step(reference, KEY, reference.init(KEY, PARAMS), BATCHES)
    for mine, theirs in zip(*map(jax.tree.leaves, (state.params, expected.params)), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)
