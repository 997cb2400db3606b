"""Biases follow from the probes of the layer that they are added to, wherever that is certain."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from gradients import gradient_of

from rso_jax.slopes import probes, value_and_slopes

KEY = jax.random.key(1)
RNG = np.random.default_rng(0)
N = 32


def normal(*shape):
    return jnp.asarray(RNG.standard_normal(shape), jnp.float32)


BATCH = {"x": normal(N, 6), "y": jnp.asarray(RNG.integers(0, 3, N))}


def entropy(logits, batch):
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])


def added(params, batch):
    return entropy(jnp.tanh(batch["x"] @ params["w"] + params["b"]), batch)


def added_in_a_row(params, batch):
    return entropy(jnp.tanh(batch["x"] @ params["w"] + params["b"][None]), batch)


def turned(params, batch):
    z = params["w"].T @ batch["x"].T
    return entropy(jnp.tanh(z + params["b"][:, None]).T, batch)


def in_heads(params, batch):
    z = jnp.einsum("ni,iho->nho", batch["x"], params["w"]) + params["b"]
    return entropy(jnp.tanh(z).sum(1), batch)


def read_twice(params, batch):
    return added(params, batch) + jnp.sum(params["b"] ** 2)


def product_read_twice(params, batch):
    z = batch["x"] @ params["w"]
    return entropy(jnp.tanh(z + params["b"]) + z, batch)


def on_another_axis(params, batch):
    """As many columns as rows, of which the bias is added to the others."""
    z = jnp.einsum("ni,io,nj->njo", batch["x"], params["w"], batch["x"][:, :3])
    return entropy(jnp.tanh(z + params["b"][:, None]).sum(1), batch)


def scaled(params, batch):
    return entropy(jnp.tanh((batch["x"] @ params["w"]) * 2 + params["b"]), batch)


def evaluations(losses, params, way=None, **told):
    estimate = jax.jit(value_and_slopes(losses, way, **told))
    _, slopes, info = estimate(KEY, params, BATCH)
    expected = gradient_of(losses, params, BATCH)
    for name, slope in slopes.items():
        if told.get("searched", lambda path: True)(name):
            assert slope.shape == expected[name].shape
            size = jnp.abs(expected[name]).max()
            np.testing.assert_allclose(slope, expected[name], atol=float(0.15 * size))
    return int(info.image_evaluations) // N - 1


@pytest.mark.parametrize("losses", [added, added_in_a_row, turned])
def test_a_bias_costs_nothing_beside_its_layer(losses):
    params = {"w": normal(6, 3), "b": normal(3)}
    assert evaluations(losses, params) == 3
    assert evaluations(losses, params, probes.nodes()) == 3  # alone it could not be probed so


def test_a_bias_of_several_axes_follows_too():
    assert evaluations(in_heads, {"w": normal(6, 2, 3), "b": normal(2, 3)}) == 6


@pytest.mark.parametrize("losses", [read_twice, product_read_twice, on_another_axis, scaled])
def test_what_is_no_bias_has_probes_of_its_own(losses):
    params = {"w": normal(6, 3), "b": normal(3)}
    assert evaluations(losses, params) > 3


def test_a_bias_is_probed_where_its_layer_is_not():
    params = {"w": normal(6, 3), "b": normal(3)}
    assert evaluations(added, params, searched=lambda path: path == "b") == 3
    assert evaluations(added, params, probes.weights()) == 6 * 3 + 3


def test_biases_of_layers_that_are_called_follow():
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(2, (3, 3))(x.reshape(-1, 2, 3, 1)))
            return nn.Dense(3)(jax.checkpoint(jnp.tanh)(x).reshape(len(x), -1))

    network = Network()
    params = network.init(KEY, BATCH["x"])
    losses = jax.jit(lambda params, batch: entropy(network.apply(params, batch["x"]), batch))
    _, slopes, info = jax.jit(value_and_slopes(losses))(KEY, params, BATCH)
    expected = gradient_of(losses, params, BATCH)
    assert int(info.image_evaluations) == (1 + 2 * 6 + 3) * N
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=0.02), slopes, expected)
