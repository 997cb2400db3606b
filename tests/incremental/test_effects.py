"""Effects in a loss: those that depend on the weights happen once a candidate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import io_callback

from rso_jax.incremental import column_program

W = jax.random.normal(jax.random.key(0), (3, 4))
V = jax.random.normal(jax.random.key(1), (4, 2))
X = jax.random.normal(jax.random.key(2), (5, 3))


def observed(value, seen):
    jax.debug.callback(lambda v: seen.append(np.asarray(v)), value)


def io_observed(value, seen):
    shape = jax.ShapeDtypeStruct((), jnp.float32)
    return io_callback(lambda v: (seen.append(np.asarray(v)), np.float32(2))[1], shape, value)


def loss_with(observe, where):
    def loss(params, x):
        weights = params["w"]
        if where == "weights":
            observe(weights)
        z = x @ weights
        if where == "pre-activation":
            observe(z)
        h = jnp.tanh(z)
        if where == "hidden":
            observe(h)
        out = jnp.mean((h @ params["v"]) ** 2)
        if where == "loss":
            observe(out)
        return out

    return loss


@pytest.mark.parametrize("where", ["weights", "pre-activation", "hidden", "loss"])
@pytest.mark.parametrize("leaf", ["v", "w"])
def test_a_callback_happens_once_a_candidate(where, leaf):
    seen = []
    loss = loss_with(lambda v: observed(v, seen), where)
    params = {"v": V, "w": W}
    program = column_program(loss, params, X, ["v", "w"].index(leaf))
    prefix = program.prefix(params, X)
    before = len(seen)  # what the leaf cannot change is observed once, ahead of all candidates
    view = program.view(params, X, 1, prefix)
    z = program.preactivation(view, params[leaf][:, 1])
    program.direction(view, 2)
    jax.effects_barrier()
    assert len(seen) == before
    found = [program.loss(view, params[leaf][:, 1], z) for _ in range(3)]
    jax.effects_barrier()
    depends = leaf == "w" or where == "loss"
    assert (before, len(seen)) == ((0, 3) if depends else (1, 1))
    np.testing.assert_allclose(found[0], loss(params, X), rtol=1e-6)


def test_a_result_of_the_host_is_used():
    seen = []

    def loss(w, x):
        z = x @ w
        return jnp.mean(jnp.tanh(z)) * io_observed(z.sum(), seen)

    program = column_program(loss, W, X, 0)
    view = program.view(W, X, 0)
    new = W[:, 0] + 1
    found = program.loss(view, new, program.preactivation(view, new))
    np.testing.assert_allclose(found, loss(W.at[:, 0].set(new), X), rtol=1e-6)
    np.testing.assert_allclose(seen[0], (X @ W.at[:, 0].set(new)).sum(), rtol=1e-5)


def test_printing_is_no_part_of_the_loss(capfd):
    def loss(w, x):
        z = x @ w
        jax.debug.print("largest {}", z.max())
        return jnp.mean(z**2)

    program = column_program(loss, W, X, 0)
    view = program.view(W, X, 3)
    z = program.preactivation(view, W[:, 3])
    losses = jax.jit(jax.vmap(lambda d: program.loss(view, W[:, 3], [a + d for a in z])))
    jax.block_until_ready(losses(jnp.arange(3.0)))
    jax.effects_barrier()
    assert capfd.readouterr().out.count("largest") == 3
