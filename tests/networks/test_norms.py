"""Norms: what an example's logits depend on, and the networks that have none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rso_jax import UserError
from rso_jax.networks import NORMS, create

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
SHAPES = {"mlp": (6, 6, 1), "paper-cifar10": (32, 32, 3)}
ALONE = [(name, norm) for name in NORMS for norm in NORMS[name] if norm != "batch"]


def shape_of(name):
    return SHAPES.get(name, (28, 28, 1))


def made(name, norm, hidden=(8, 7)):
    """A network, parameters that differ from each other, and images."""
    network = create(name, shape_of(name), 10, hidden, norm)
    images = RNG.normal(size=(3, *shape_of(name))).astype(np.float32)
    shapes = jax.eval_shape(network.init, KEY, images)
    params = jax.tree.map(lambda a: 0.3 * RNG.normal(size=a.shape).astype(a.dtype), shapes)
    return network._replace(logits=jax.jit(network.logits)), params, images


@pytest.mark.parametrize(("name", "norm"), ALONE)
def test_an_example_has_the_logits_it_has_alone(name, norm):
    network, params, images = made(name, norm)
    others = np.concatenate([images[:1], 3 * images[1:]])
    found = network.logits(params, others)
    np.testing.assert_allclose(found[0], network.logits(params, images)[0], rtol=1e-5, atol=1e-5)
    statistics = network.calibrate(params, images)
    assert not jax.tree.leaves(statistics)
    evaluated = jax.jit(network.evaluate)(params, statistics, others)
    np.testing.assert_allclose(evaluated, found, rtol=1e-5, atol=1e-5)


def scaled(x, layer, axes):
    x = x - x.mean(axes, keepdims=True)
    return x / np.sqrt((x**2).mean(axes, keepdims=True) + 1e-6) * layer["scale"] + layer["bias"]


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_the_mlp_is_the_one_described(norm):
    network, params, images = made("mlp", norm)
    p, x = jax.tree.map(np.float64, params), np.float64(images).reshape(3, -1)
    for name in ("hidden1", "hidden2"):
        x = x @ p[name]["kernel"]
        x = scaled(x, p[name], 1) if norm == "layer" else x + p[name]["bias"]
        x = np.maximum(x, 0)
    expected = x @ p["output"]["kernel"] + p["output"]["bias"]
    np.testing.assert_allclose(network.logits(params, images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["paper-mnist", "paper-cifar10"])
def test_the_papers_networks_have_the_same_parameters_with_either_norm(name):
    def params(norm):
        network = create(name, shape_of(name), 10, norm=norm)
        return jax.eval_shape(network.init, KEY, jnp.zeros((1, *shape_of(name))))

    assert params("layer") == params("batch") == params(None)


def test_an_image_alone_is_normalised_channel_by_channel():
    """Seen at the first layer of the paper's network."""
    network, params, images = made("paper-mnist", "layer")
    # A channel is not told by the length of its filter, and an image not by its contrast.
    longer = jax.tree.map(jnp.asarray, params)
    longer["conv1"]["kernel"] = params["conv1"]["kernel"] * jnp.arange(1.0, 17)
    expected = network.logits(params, images)
    found = network.logits(longer, 5 * images)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_evojaxs_network_is_the_one_described():
    network, params, images = made("evojax-mnist", None)
    p, x = jax.tree.map(np.float64, params), np.float64(images)
    for i in (1, 2):
        size, kernel = x.shape[1], p[f"conv{i}"]["kernel"]
        wide = np.pad(x, [(0, 0), (2, 2), (2, 2), (0, 0)])
        moves = [(a, b) for a in range(5) for b in range(5)]
        x = sum(wide[:, a : a + size, b : b + size] @ kernel[a, b] for a, b in moves)
        x = np.maximum(x + p[f"conv{i}"]["bias"], 0)
        x = x.reshape(3, size // 2, 2, size // 2, 2, -1).max((2, 4))
    expected = x.reshape(3, -1) @ p["dense"]["kernel"] + p["dense"]["bias"]
    np.testing.assert_allclose(network.logits(params, images), expected, rtol=1e-4, atol=1e-4)


def test_the_mlp_without_norm_has_biases():
    network = create("mlp", (28, 28, 1), 10, (256,), "none")
    params = jax.eval_shape(network.init, KEY, jnp.zeros((1, 28, 28, 1)))
    assert sum(a.size for a in jax.tree.leaves(params)) == 784 * 256 + 256 + 256 * 10 + 10


@pytest.mark.parametrize(
    ("name", "norm", "said"),
    [
        ("paper-mnist", "none", "model paper-mnist has no norm 'none'; choose from batch, layer"),
        ("evojax-mnist", "batch", "model evojax-mnist has no norm 'batch'; choose from none"),
        ("mlp", "lyer", "norm is 'lyer': did you mean 'layer'"),
    ],
)
def test_norms_that_a_network_does_not_have(name, norm, said):
    with pytest.raises(UserError, match=said):
        create(name, shape_of(name), 10, norm=norm)
