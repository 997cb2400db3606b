"""Infinite weights and inputs: a column program says what the full loss says, finite or not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rso_jax.incremental import column_program

W = jax.random.normal(jax.random.key(0), (3, 4))
X = jax.random.normal(jax.random.key(2), (5, 3))


def dense(params, x):
    return jnp.mean(jnp.tanh(jnp.tanh(x @ params["a"]) @ params["b"]) @ params["c"])


def convolutional(params, x):
    def convolve(x, k):
        return jax.lax.conv_general_dilated(
            x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    h = jnp.tanh(convolve(x[:, None, :, None] * jnp.ones((1, 3, 1, 1)), params["a"]))
    h = jnp.tanh(convolve(h, params["b"]))
    return jnp.mean(jnp.max(h, (1, 2)) @ params["c"])


def batched(params, x):
    h = jnp.tanh(x @ params["a"])  # [5, 4]
    return jnp.mean(jnp.tanh(jnp.einsum("nk,nkj->nj", h, params["b"])) @ params["c"])


def parameters(kind):
    shapes = {
        "dense": ((3, 4), (4, 4), (4, 2)),
        "convolutional": ((3, 3, 1, 4), (1, 1, 4, 4), (4, 2)),  # no padding meets infinities
        "batched": ((3, 4), (5, 4, 4), (4, 2)),
    }[kind]
    keys = jax.random.split(jax.random.key(1), 3)
    return {n: jax.random.normal(k, s) for n, k, s in zip("abc", keys, shapes, strict=True)}


LOSSES = {"dense": dense, "convolutional": convolutional, "batched": batched}


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("column", [0, 1, 3])
def test_an_infinite_weight_elsewhere(kind, column):
    loss, params = LOSSES[kind], parameters(kind)
    place = {"dense": (1, 2), "convolutional": (0, 0, 1, 2), "batched": (2, 1, 2)}[kind]
    params["b"] = params["b"].at[place].set(jnp.inf)
    program = column_program(loss, params, X, 0)
    view = program.view(params, X, column)
    new = params["a"][..., column] + 0.5
    expected = loss(params | {"a": params["a"].at[..., column].set(new)}, X)
    assert jnp.isfinite(expected)
    found = program.loss(view, new, program.preactivation(view, new))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_an_infinite_input_of_the_next_product():
    # Channel 1 of what is added to the column's own is infinite, whatever the column.
    shift = jnp.zeros(4).at[1].set(jnp.inf)

    def loss(w, x):
        return jnp.mean(jnp.tanh((x @ w + shift) @ jnp.ones((4, 2))))

    program = column_program(loss, W, X, 0)
    for o in range(4):
        view = program.view(W, X, o)
        found = program.loss(view, W[:, o], program.preactivation(view, W[:, o]))
        assert found == loss(W, X) == 1
