"""Infinities on the way to a finite loss: column programs decide as whole forward passes do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rso_jax import presets, rso, step
from rso_jax.search import joint

KEYS = jax.random.split(jax.random.key(3), 4)
PARAMS = {"a": jax.random.normal(KEYS[0], (3, 4)), "b": jax.random.normal(KEYS[1], (4, 2))}
X = jax.random.normal(KEYS[2], (2, 6, 3))


def loss_fn(params, x):
    return jnp.mean(jnp.tanh(jnp.tanh(x @ params["a"]) @ params["b"]) ** 2)


@pytest.mark.parametrize("block", [None, joint.Block("leaf", joint.accepted())])
@pytest.mark.parametrize("where", ["input", "weight"])
def test_decisions_are_those_of_the_full_loss(where, block):
    params, batches = dict(PARAMS), X
    if where == "input":
        batches = X.at[:, 2, 1].set(jnp.inf).at[1, 4, 0].set(-jnp.inf)
    else:
        params["b"] = params["b"].at[2, 1].set(jnp.inf)
    found = []
    for evaluation in ("column", "full"):
        settings = presets.authors_code(3, weight_decay=0.0, block=block, evaluation=evaluation)
        search = rso(loss_fn, **settings)
        state, info = step(search, KEYS[3], search.init(KEYS[3], params), batches)
        found.append((state.params, info.stages["a"]))
    (column, sweep), (full, expected) = found
    np.testing.assert_array_equal(sweep.choices, expected.choices)
    np.testing.assert_allclose(sweep.losses, expected.losses, rtol=1e-5)
    assert int(sweep.not_finite) == int(expected.not_finite) == 0
    assert int(sweep.accepted) > 0
    np.testing.assert_allclose(column["a"], full["a"], rtol=1e-5)
