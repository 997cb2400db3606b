"""Probes of one position at a time: what they learn, what they leave out, and what they cost."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gradients import gradient_of

from rso_jax.slopes import probes, slopes_method, value_and_slopes

KEY = jax.random.key(4)
RNG = np.random.default_rng(11)
N, SIDE, LARGE = 6, 6, 24


def normal(*shape, scale=0.5):
    return scale * RNG.standard_normal(shape)


BATCH = {"x": normal(N, SIDE, SIDE, 2, scale=1.0), "y": RNG.integers(0, 4, N)}


def convolve(x, kernel):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)


def pool(x, init, reduce):
    return jax.lax.reduce_window(x, init, reduce, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def dense(params, h, batch):
    logits = h.reshape(len(h), -1) @ params["out"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])


def standardise(h):
    """Batch norm without parameters."""
    return (h - h.mean((0, 1, 2))) * jax.lax.rsqrt(h.var((0, 1, 2)) + 1e-3)


def averaging(params, batch):
    h = jax.nn.relu(convolve(batch["x"], params["kernel"]) + params["bias"])
    return dense(params, pool(h, 0.0, jax.lax.add) / 4, batch)


def max_pooling(params, batch):
    h = convolve(batch["x"], params["kernel"]) + params["bias"]
    return dense(params, pool(h, -jnp.inf, jax.lax.max), batch)


def two_convolutions(params, batch):
    h = jnp.tanh(convolve(batch["x"], params["kernel"]) + params["bias"])
    h = jnp.tanh(convolve(h, params["second"]))
    return dense(params, h.mean((1, 2)), batch)


def normalised(params, batch):
    """Batch norm follows the convolution at once."""
    h = standardise(convolve(batch["x"], params["kernel"])) * params["scale"] + params["bias"]
    return dense(params, jax.nn.softplus(h), batch)


def normalised_twice(params, batch):
    h = jax.nn.relu(standardise(convolve(batch["x"], params["kernel"])))
    h = jax.nn.relu(standardise(convolve(h, params["second"])))
    return dense(params, h.mean((1, 2)), batch)


def params_of(*names, out):
    shapes = {"kernel": (3, 3, 2, 3), "second": (3, 3, 3, 3), "bias": (3,), "scale": (3,)}
    return {name: normal(*shapes[name]) for name in names} | {"out": normal(out, 4)}


POOLED = SIDE * SIDE // 4 * 3
MODELS = {
    "an average pool": (averaging, params_of("kernel", "bias", out=POOLED)),
    "a max pool": (max_pooling, params_of("kernel", "bias", out=POOLED)),
    "two convolutions": (two_convolutions, params_of("kernel", "bias", "second", out=3)),
}
NORMALISED = params_of("kernel", "scale", "bias", out=SIDE * SIDE * 3)
NORMALISED_TWICE = params_of("kernel", "second", out=3)


def in_32_bits(tree):
    return jax.tree.map(
        lambda a: jnp.asarray(a, "float32" if a.dtype.kind == "f" else "int32"), tree
    )


def slopes_and_gradient(losses, way, params, only=""):
    """In 64 bits."""
    with jax.enable_x64(True):
        params, batch = jax.tree.map(jnp.asarray, (params, BATCH))
        estimate = value_and_slopes(losses, way, searched=lambda path: only in path)
        _, slopes, _ = jax.jit(estimate)(KEY, params, batch)
        gradient = gradient_of(losses, params, batch)
        return jax.tree.map(np.asarray, (slopes, gradient))


def cost_of(losses, way, params, only="", side=SIDE):
    """For images of so many pixels a side."""
    shapes = {"x": (1, N, side, side, 2), "y": (1, N)}
    types = {"x": "float32", "y": "int32"}
    batches = {name: jax.ShapeDtypeStruct(shapes[name], types[name]) for name in shapes}
    method = slopes_method(losses, optax.sgd(0.1), way, searched=lambda path: only in path)
    return {cost.path: cost for cost in method.cost(in_32_bits(params), batches)}


@pytest.mark.parametrize("model", MODELS)
def test_positions_one_at_a_time_tell_the_gradient(model):
    losses, params = MODELS[model]
    slopes, gradient = slopes_and_gradient(losses, probes.nodes(1e-4), params)
    for name in params:
        size = np.abs(gradient[name]).max()
        np.testing.assert_allclose(slopes[name], gradient[name], atol=5e-3 * size, err_msg=name)


@pytest.mark.parametrize("model", MODELS)
def test_moves_of_the_usual_size_point_where_the_gradient_does(model):
    losses, params = MODELS[model]
    params, batch = in_32_bits((params, BATCH))
    _, slopes, _ = jax.jit(value_and_slopes(losses, probes.nodes()))(KEY, params, batch)
    gradient = gradient_of(losses, params, batch)
    for name in params:
        a, b = np.ravel(slopes[name]), np.ravel(gradient[name])
        assert a @ b > 0.99 * np.linalg.norm(a) * np.linalg.norm(b), name


def test_with_what_is_common_batch_norm_at_once_is_exact():
    errors = []
    for eps in (1e-2, 1e-4):
        way = probes.nodes(eps, common=True)
        slopes, gradient = slopes_and_gradient(normalised, way, NORMALISED, only="kernel")
        errors.append(np.abs(slopes["kernel"] - gradient["kernel"]).max())
    assert errors[1] < 0.02 * errors[0]
    np.testing.assert_allclose(slopes["kernel"], gradient["kernel"], rtol=1e-3, atol=1e-5)


def test_a_position_moves_with_the_statistics_held():
    """Without what is common, slopes are those of a batch norm whose statistics are constants."""

    def held(params, batch):
        z = convolve(batch["x"], params["kernel"])
        before = convolve(batch["x"], jax.lax.stop_gradient(params["kernel"]))
        h = (z - before.mean((0, 1, 2))) * jax.lax.rsqrt(before.var((0, 1, 2)) + 1e-3)
        h = h * params["scale"] + params["bias"]
        return dense(params, jax.nn.softplus(h), batch)

    way = probes.nodes(1e-4)
    slopes, gradient = slopes_and_gradient(normalised, way, NORMALISED, only="kernel")
    with jax.enable_x64(True):
        wanted = gradient_of(held, NORMALISED, BATCH)["kernel"]
    size = np.abs(wanted).max()
    np.testing.assert_allclose(slopes["kernel"], wanted, atol=1e-3 * size)
    assert np.abs(slopes["kernel"] - gradient["kernel"]).max() > 0.1 * size


@pytest.mark.parametrize(
    ("losses", "leaves", "features"),
    [
        (max_pooling, ("kernel", "bias"), (LARGE // 2) ** 2 * 3),
        (normalised, ("kernel", "scale", "bias"), LARGE**2 * 3),
    ],
)
def test_a_position_costs_what_it_can_change_and_not_a_channel(losses, leaves, features):
    params = params_of(*leaves, out=features)
    at_once, each = (
        cost_of(losses, way, params, only="kernel", side=LARGE)["kernel"]
        for way in (probes.nodes(positions="together"), probes.nodes())
    )
    assert (at_once.moves, each.moves) == ("nodes", "positions")
    assert each.evaluations == at_once.evaluations * LARGE * LARGE
    assert each.candidate_flops < 0.1 * at_once.candidate_flops


# What is right for a leaf


def test_positions_are_picked_under_a_batch_norm_that_follows_at_once():
    cost = cost_of(normalised, probes.cheapest(), NORMALISED)["kernel"]
    assert (cost.moves, cost.evaluations) == ("positions", 3 * (SIDE * SIDE + 2))


def test_weights_are_picked_where_examples_meet_later_too():
    costs = cost_of(normalised_twice, probes.cheapest(), NORMALISED_TWICE)
    assert (costs["kernel"].moves, costs["kernel"].evaluations) == ("weights", 3 * 18)
    assert costs["out"].moves == "nodes"


@pytest.mark.parametrize(
    ("losses", "params"), [(normalised, NORMALISED), (normalised_twice, NORMALISED_TWICE)]
)
def test_what_is_picked_points_where_the_gradient_does(losses, params):
    params, batch = in_32_bits((params, BATCH))
    _, slopes, _ = jax.jit(value_and_slopes(losses))(KEY, params, batch)
    gradient = gradient_of(losses, params, batch)
    for name in params:
        a, b = np.ravel(slopes[name]), np.ravel(gradient[name])
        assert a @ b > 0.98 * np.linalg.norm(a) * np.linalg.norm(b), name
