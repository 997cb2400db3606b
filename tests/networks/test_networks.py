"""The networks: sizes, structure, and batch norm by batch or by calibrated statistics."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rso_jax import UserError, rso, step
from rso_jax.networks import (
    MLP,
    PaperCifar10,
    PaperMnist,
    create,
    cross_entropy,
    from_linen,
    from_nnx,
    linen_network,
    loss_of,
    nnx_network,
    zero_one,
)

KEY = jax.random.key(0)


def size(params):
    return sum(a.size for a in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("name", "shape", "scalars"),
    [
        ("paper-mnist", (28, 28, 1), 12_016),
        ("paper-cifar10", (32, 32, 3), 57_104),
        ("evojax-mnist", (28, 28, 1), 11_274),
        ("mlp", (8, 8, 1), 64 * 64 + 64 * 10 + 2 * (64 + 10)),
    ],
)
def test_trained_scalars(name, shape, scalars):
    network = create(name, shape, 10)
    assert size(jax.eval_shape(network.init, KEY, jnp.zeros((1, *shape)))) == scalars


def test_the_mnist_network_has_160_dense_and_192_batch_norm_scalars():
    params = jax.eval_shape(PaperMnist().init, KEY, jnp.zeros((1, 28, 28, 1)))["params"]
    convolutions = sum(params[f"conv{i}"]["kernel"].size for i in range(1, 7))
    norms = sum(params[f"conv{i}"][n].size for i in range(1, 7) for n in ("scale", "bias"))
    assert (convolutions, params["dense"]["kernel"].size, norms) == (11_664, 160, 192)


@pytest.mark.parametrize("name", ["paper-mnist", "paper-cifar10"])
def test_initial_kernels_are_normal_with_the_he_deviation(name):
    shape = (28, 28, 1) if name == "paper-mnist" else (32, 32, 3)
    params = jax.jit(create(name, shape, 10).init)(KEY, jnp.zeros((1, *shape)))
    for layer, arrays in params.items():
        kernel = arrays["kernel"]
        expected = (2 / (kernel.size / kernel.shape[-1])) ** 0.5
        # A spread estimated from n draws is off by about 1 / sqrt(2 n).
        tolerance = 4 / (2 * kernel.size) ** 0.5
        assert float(kernel.std()) == pytest.approx(expected, rel=tolerance), layer


def plain_batch_norm(x, layer):
    axes = tuple(range(x.ndim - 1))
    mean, var = x.mean(axes), x.var(axes)
    return (x - mean) / np.sqrt(var + 1e-5) * layer["scale"] + layer["bias"]


def plain_conv(x, kernel):
    """A 'same' convolution as shifted products, in float64."""
    h, w = kernel.shape[:2]
    padded = np.pad(x, ((0, 0), (h // 2, h // 2), (w // 2, w // 2), (0, 0)))
    return sum(
        padded[:, i : i + x.shape[1], j : j + x.shape[2]] @ kernel[i, j]
        for i in range(h)
        for j in range(w)
    )


def plain_pool(x):
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4))


def random_params(network, shape):
    params = jax.jit(network.init)(KEY, jnp.zeros((1, *shape)))
    draw = np.random.default_rng(0).standard_normal  # JAX's is compiled for every shape
    return jax.tree.map(lambda a: a + 0.1 * draw(a.shape).astype(np.float32), params)


def as_numpy(tree):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


def test_the_mnist_network_is_the_one_described():
    network = create("paper-mnist", (28, 28, 1), 10)
    params = random_params(network, (28, 28, 1))
    images = jax.random.normal(KEY, (5, 28, 28, 1))
    p, x = as_numpy(params), np.asarray(images, np.float64)
    for i in range(1, 7):
        x = plain_conv(np.maximum(x, 0) if i > 1 else x, p[f"conv{i}"]["kernel"])
        x = plain_batch_norm(plain_pool(x) if i in (2, 4) else x, p[f"conv{i}"])
    expected = x.max((1, 2)) @ p["dense"]["kernel"]
    np.testing.assert_allclose(
        jax.jit(network.logits)(params, images), expected, rtol=1e-3, atol=1e-4
    )


def test_the_cifar_network_is_the_one_described():
    network = create("paper-cifar10", (32, 32, 3), 10)
    params = random_params(network, (32, 32, 3))
    images = jax.random.normal(KEY, (3, 32, 32, 3))
    p, x = as_numpy(params), np.asarray(images, np.float64)
    outputs = {}
    for i in range(1, 10):
        x = plain_conv(np.maximum(x, 0) if i > 1 else x, p[f"conv{i}"]["kernel"])
        if i in (3, 7, 9):
            x = x + outputs[i - 2]
        if i == 5:
            narrow = plain_conv(outputs[3], p["projection"]["kernel"])
            x = x + plain_batch_norm(narrow, p["projection"])
        x = plain_batch_norm(plain_pool(x) if i in (3, 5) else x, p[f"conv{i}"])
        outputs[i] = x
    expected = x.max((1, 2)) @ p["dense"]["kernel"]
    np.testing.assert_allclose(
        jax.jit(network.logits)(params, images), expected, rtol=2e-3, atol=2e-4
    )


def test_calibrated_statistics_are_those_of_the_examples_given():
    network = create("mlp", (8, 8, 1), 10, hidden=(16, 12))
    params = random_params(network, (8, 8, 1))
    images = jax.random.normal(KEY, (64, 8, 8, 1)) + 3.0
    statistics = jax.jit(network.calibrate)(params, images)
    np.testing.assert_allclose(
        network.evaluate(params, statistics, images), network.logits(params, images), atol=1e-4
    )
    # Evaluation is per example: a part of the images gets the logits it has within the whole.
    np.testing.assert_allclose(
        network.evaluate(params, statistics, images[:3]),
        network.evaluate(params, statistics, images)[:3],
        atol=1e-5,
    )


class UsersLinen(nn.Module):
    """A module as others write them: a train flag, momentum, dropout off."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(4, (3, 3))(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return nn.Dense(3)(nn.relu(x).mean((1, 2)))


class UsersNnx(nnx.Module):
    """An NNX model with batch norm."""

    def __init__(self, rngs):
        self.hidden = nnx.Linear(12, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, momentum=0.9, rngs=rngs)
        self.out = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.out(nnx.relu(self.norm(self.hidden(x))))


def linen_case():
    images = jax.random.normal(KEY, (2, 20, 6, 6, 2))
    flags = {"searching": {"train": True}, "evaluating": {"train": False}}
    network = linen_network(UsersLinen(), **flags)
    return jax.jit(network.init)(KEY, images[0]), network, images


def nnx_case():
    params, network = nnx_network(UsersNnx(nnx.Rngs(0)))
    return params, network, jax.random.normal(KEY, (2, 20, 12)) + 1.0


@pytest.mark.parametrize("case", [linen_case, nnx_case])
def test_any_flax_module_is_searched_and_calibrated(case):
    params, network, images = case()
    batches = {"image": images, "label": jnp.arange(40).reshape(2, 20) % 3}
    search = rso(loss_of(network))
    state, info = step(search, KEY, search.init(KEY, params), batches)
    assert info.visits == size(params)
    assert int(info.accepted) > 0
    # Whatever the momentum of the running averages, calibration gives the batch's own.
    statistics = jax.jit(network.calibrate)(state.params, images[0])
    assert jax.tree.leaves(statistics)
    np.testing.assert_allclose(
        jax.jit(network.evaluate)(state.params, statistics, images[0]),
        jax.jit(network.logits)(state.params, images[0]),
        atol=2e-4,
    )


def test_helpers_give_parameters_and_a_loss():
    images = jax.random.normal(KEY, (20, 6, 6, 2))
    labels = jnp.arange(20) % 3
    params, loss = from_linen(UsersLinen(), KEY, images, searching={"train": True})
    assert loss(params, {"image": images, "label": labels}).shape == ()
    params, loss = from_nnx(UsersNnx(nnx.Rngs(0)), loss=zero_one)
    value = loss(params, {"image": images.reshape(20, -1)[:, :12], "label": labels})
    assert 0 <= float(value) <= 1


def test_searching_does_not_change_the_users_nnx_model():
    model = UsersNnx(nnx.Rngs(0))
    before = jax.tree.map(jnp.copy, nnx.to_pure_dict(nnx.state(model)))
    params, loss = from_nnx(model)
    loss(params, {"image": jnp.ones((4, 12)), "label": jnp.zeros(4, jnp.int32)})
    after = nnx.to_pure_dict(nnx.state(model))
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_cross_entropy_of_known_values():
    logits, labels = jnp.log(jnp.array([[0.5, 0.5], [0.9, 0.1]])), jnp.array([0, 1])
    expected = -(np.log(0.5) + np.log(0.1))
    assert float(cross_entropy(logits, labels)) == pytest.approx(expected / 2, rel=1e-6)
    total = cross_entropy(logits, labels, reduction="sum")
    assert float(total) == pytest.approx(expected, rel=1e-6)
    each = cross_entropy(logits, labels, reduction="none")
    np.testing.assert_allclose(each, [-np.log(0.5), -np.log(0.1)], rtol=1e-6)
    of_tokens = cross_entropy(logits[None], labels[None], reduction="none")
    np.testing.assert_array_equal(of_tokens, each[None])
    with jax.enable_x64(True):
        assert cross_entropy(logits, labels, precision="float64").dtype == jnp.float64
    assert float(zero_one(logits, jnp.array([0, 1]))) == 0.5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("paper-mnits", (28, 28, 1), 10), "did you mean 'paper-mnist'"),
        (("resnet", (28, 28, 1), 10), "known are 'mlp', 'paper-mnist', 'paper-cifar10'"),
        (("paper-mnist", (32, 32, 3), 10), r"takes images of shape \(28, 28, 1\)"),
        (("mlp", (8, 8, 1), 10, (16, 0)), "each must be at least 1"),
    ],
)
def test_networks_that_cannot_be_made(arguments, said):
    with pytest.raises(UserError, match=said):
        create(*arguments)


def test_other_class_counts():
    x = jnp.zeros((2, 32, 32, 3))
    assert PaperCifar10(classes=7).init_with_output(KEY, x)[0].shape == (2, 7)
    assert MLP((5,), classes=4).init_with_output(KEY, x)[0].shape == (2, 4)
