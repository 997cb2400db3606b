"""Modules of libraries that are neither Linen nor NNX: two cycles make the loss fall."""

import jax
import jax.numpy as jnp
import pytest

from rso_jax import rso, step
from rso_jax.networks import cross_entropy

KEY = jax.random.key(0)
X = jax.random.normal(KEY, (30, 4))
BATCH = {"x": X, "y": jnp.argmax(X[:, :3], 1)}


def of_equinox():
    eqx = pytest.importorskip("equinox", reason="equinox is not installed")
    module = eqx.nn.MLP(4, 3, width_size=5, depth=1, key=KEY)
    params, rest = eqx.partition(module, eqx.is_array)
    return params, lambda params, x: jax.vmap(eqx.combine(params, rest))(x)


def of_haiku():
    hk = pytest.importorskip("haiku", reason="dm-haiku is not installed")
    net = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([5, 3])(x)))
    return net.init(KEY, X), net.apply


@pytest.mark.parametrize("make", [of_equinox, of_haiku])
def test_a_module_is_searched(make):
    params, logits = make()

    def loss(params, batch):
        return cross_entropy(logits(params, batch["x"]), batch["y"])

    search = rso(loss)
    state, losses = search.init(KEY, params), [loss(params, BATCH)]
    for cycle in range(2):
        stack = jax.tree.map(lambda a: a[None], BATCH)
        state, info = step(search, jax.random.fold_in(KEY, cycle), state, stack)
        losses.append(info.loss)
    assert losses[2] < losses[1] < losses[0]
    found = search.params(state)
    assert jax.tree.structure(found) == jax.tree.structure(params)
    assert jnp.allclose(loss(found, BATCH), losses[2])
