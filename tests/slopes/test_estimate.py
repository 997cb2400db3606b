"""Slopes from evaluations alone, beside derivatives and brute force."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gradients import gradient_of

from rso_jax.errors import UserError
from rso_jax.slopes import probes, value_and_slopes

KEY = jax.random.key(1)
RNG = np.random.default_rng(0)
N = 48


def normal(*shape, scale=1.0):
    return jnp.asarray(scale * RNG.standard_normal(shape), jnp.float32)


LABELS = jnp.asarray(RNG.integers(0, 4, N))


def entropy(logits, labels=LABELS):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def perceptron(params, batch):
    hidden = jnp.tanh(batch["x"] @ params["in"] + params["shift"])
    return entropy(hidden @ params["out"], batch["y"])


PERCEPTRON = {"in": normal(9, 6, scale=0.4), "shift": normal(6), "out": normal(6, 4, scale=0.5)}
BATCH = {"x": normal(N, 9), "y": LABELS}


def plain_convolutional(params, batch):
    h = jax.nn.softplus(convolve(params["kernel"], batch["x"]))
    return entropy(h.mean((1, 2)) @ params["out"], batch["y"])


def convolve(kernel, x):
    image = x.reshape(-1, 3, 3, 1)
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=numbers)


def convolutional(params, batch):
    """With batch norm."""
    h = convolve(params["kernel"], batch["x"])
    mean, variance = h.mean((0, 1, 2)), h.var((0, 1, 2))
    h = jax.nn.softplus((h - mean) * jax.lax.rsqrt(variance + 1e-3) * params["scale"])
    return entropy(h.mean((1, 2)) @ params["out"], batch["y"])


CONVOLUTIONAL = {"kernel": normal(2, 2, 1, 3), "scale": jnp.ones(3), "out": normal(3, 4)}


def attention(params, batch):
    """A loss for every token."""
    x = batch["x"].reshape(-1, 3, 3)
    scores = jnp.einsum("nti,ij,nsj->nts", x, params["score"], x)
    mixed = jax.nn.softmax(scores, axis=-1) @ x @ params["value"]
    return entropy(mixed, jnp.broadcast_to(batch["y"][:, None], mixed.shape[:2]))


ATTENTION = {"score": normal(3, 3, scale=0.3), "value": normal(3, 4)}
MODELS = {
    "perceptron": (perceptron, PERCEPTRON),
    "convolutional": (convolutional, CONVOLUTIONAL),
    "attention": (attention, ATTENTION),
}


def cosines(losses, params, found):
    expected = gradient_of(losses, params, BATCH)
    flat = {name: [np.ravel(tree[name]) for tree in (found, expected)] for name in params}
    return {
        name: float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for name, (a, b) in flat.items()
    }


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("way", ["weights", "cheapest"])
def test_slopes_point_where_the_gradient_does(model, way):
    losses, params = MODELS[model]
    estimate = jax.jit(value_and_slopes(losses, getattr(probes, way)()))
    value, slopes, _ = estimate(KEY, params, BATCH)
    np.testing.assert_allclose(value, jax.jit(losses)(params, BATCH).mean(), rtol=1e-6)
    assert min(cosines(losses, params, slopes).values()) > 0.98


def test_node_probes_have_the_size_of_the_gradient_too():
    _, slopes, _ = jax.jit(value_and_slopes(perceptron))(KEY, PERCEPTRON, BATCH)
    expected = gradient_of(perceptron, PERCEPTRON, BATCH)
    for name, slope in slopes.items():
        np.testing.assert_allclose(slope, expected[name], atol=0.02 * np.abs(expected[name]).max())


def test_node_and_weight_probes_agree_where_both_are_exact():
    def linear(params, batch):
        return (batch["x"] @ params["w"]) @ jnp.asarray([1.0, -2.0])

    params = {"w": normal(9, 2)}
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), (params, {"x": BATCH["x"]}))
        found = [
            jax.jit(value_and_slopes(linear, way))(KEY, *wide)[1]["w"]
            for way in (probes.nodes(), probes.weights())
        ]
        np.testing.assert_allclose(*found, rtol=1e-9)


def test_signs_for_all_positions_at_once_are_right_on_average():
    together = probes.cheapest(probes.nodes(0.05, "together"), probes.weights())
    estimate = value_and_slopes(
        plain_convolutional, together, searched=lambda path: path == "kernel"
    )
    many = jax.jit(jax.vmap(lambda key: estimate(key, CONVOLUTIONAL, BATCH)[1]["kernel"]))
    found = np.asarray(many(jax.random.split(KEY, 400)), np.float64)
    expected = gradient_of(plain_convolutional, CONVOLUTIONAL, BATCH)["kernel"]
    error = found.std(0) / np.sqrt(len(found))
    # Of 12 weights: 4 standard errors, and the curvature that steps of this size see.
    assert np.all(np.abs(found.mean(0) - expected) < 4 * error + 0.02 * np.abs(expected).max())


def test_losses_without_a_derivative_are_measured_as_by_brute_force():
    def steps(params, batch):
        return jnp.mean(jnp.floor(8 * batch["x"] @ params["w"]) ** 2)

    params = {"w": normal(9, 2)}
    _, slopes, _ = jax.jit(value_and_slopes(steps, probes.weights(0.5)))(KEY, params, BATCH)
    size = 0.5 * jnp.sqrt(jnp.mean(params["w"] ** 2, axis=0))
    for k, o in ((0, 0), (3, 1), (8, 0)):
        moved = params["w"].at[k, o].add(size[o])
        change = steps({"w": moved}, BATCH) - steps(params, BATCH)
        np.testing.assert_allclose(slopes["w"][k, o], change / size[o], rtol=1e-4)


def test_towards_a_threshold_sees_what_crosses_it():
    def signs(params, batch):
        return entropy(jnp.sign(batch["x"] @ params["in"]) @ params["out"], batch["y"])

    params = {"in": PERCEPTRON["in"], "out": PERCEPTRON["out"]}
    ways = probes.cheapest(probes.towards(eps=0.5), probes.weights())
    estimate = jax.jit(value_and_slopes(signs, ways, searched=lambda path: path == "in"))
    before = signs(params, BATCH).mean()
    for step in range(20):
        _, slopes, _ = estimate(jax.random.fold_in(KEY, step), params, BATCH)
        params = params | {"in": params["in"] - 0.3 * slopes["in"]}
    assert signs(params, BATCH).mean() < 0.9 * before


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (probes.weights(), 1 + 54 + 6 + 24),
        (probes.cheapest(), 1 + 6 + 4),
        (probes.cheapest(probes.nodes(repeats=3), probes.weights()), 1 + 18 + 12),
    ],
)
def test_every_evaluation_is_counted(way, expected):
    calls = []

    def count(losses):
        calls.append(1)
        return np.asarray(losses)

    def counted(params, batch):
        losses = perceptron(params, batch)
        shape = jax.ShapeDtypeStruct(losses.shape, losses.dtype)
        return jax.pure_callback(count, shape, losses, vmap_method="sequential")

    _, _, info = jax.jit(value_and_slopes(counted, way))(KEY, PERCEPTRON, BATCH)
    jax.effects_barrier()
    assert info.image_evaluations == expected * N
    assert len(calls) == expected


def test_other_leaves_pass_through():
    params = PERCEPTRON | {"count": jnp.arange(3), "frozen": jnp.ones(2)}
    estimate = value_and_slopes(perceptron, searched=lambda path: path not in ("frozen", "shift"))
    _, slopes, _ = jax.jit(estimate)(KEY, params, BATCH)
    optimizer = optax.sgd(0.1)
    updates, _ = optimizer.update(slopes, optimizer.init(params), params)
    moved = optax.apply_updates(params, updates)
    for name in ("count", "frozen", "shift"):
        np.testing.assert_array_equal(moved[name], params[name])
        assert moved[name].dtype == params[name].dtype
    assert not np.array_equal(moved["in"], params["in"])


def test_the_mini_batch_needs_examples_and_probes_a_way_to_go():
    with pytest.raises(UserError, match="same first axis, of examples"):
        value_and_slopes(perceptron)(KEY, PERCEPTRON, BATCH | {"x": BATCH["x"][:5]})
    with pytest.raises(UserError, match=r"no way to probe .* weights\(\)"):
        scalar = partial(lambda params, batch: perceptron(params, batch).mean())
        value_and_slopes(scalar, probes.cheapest(probes.nodes()))(KEY, PERCEPTRON, BATCH)


def test_a_leaf_may_have_probes_of_its_own():
    ways = {"in": probes.nodes(), "shift": probes.weights(), "out": probes.weights()}
    mixed = jax.jit(value_and_slopes(perceptron, lambda path: ways[path]))
    by_nodes, by_weights = (
        jax.jit(value_and_slopes(perceptron, way)) for way in (probes.nodes(), probes.weights())
    )
    _, found, info = mixed(KEY, PERCEPTRON, BATCH)
    np.testing.assert_array_equal(found["in"], by_nodes(KEY, PERCEPTRON, BATCH)[1]["in"])
    np.testing.assert_array_equal(found["out"], by_weights(KEY, PERCEPTRON, BATCH)[1]["out"])
    assert info.image_evaluations == N * (1 + 6 + 6 * 4)  # a shift follows from its layer's nodes


def test_probes_that_are_none_are_refused():
    with pytest.raises(UserError, match=r"probes is the string 'nodes'.*nodes\(\)"):
        value_and_slopes(perceptron, "nodes")
    with pytest.raises(UserError, match="the probes of in are a NoneType"):
        value_and_slopes(perceptron, lambda path: None)(KEY, PERCEPTRON, BATCH)


def test_a_scale_of_large_sums_is_moved_so_little_that_its_slope_is_no_chord():
    sums = 30 * jnp.abs(normal(N)) + 20

    def losses(params, batch):
        return (params["scale"] * batch["x"] - batch["x"] / 2 - 1) ** 2 / 2

    params, batch = {"scale": jnp.asarray([0.5])}, {"x": sums}
    _, slopes, _ = jax.jit(value_and_slopes(losses, probes.weights()))(KEY, params, batch)
    # A move of a hundredth would tell three quarters of it.
    expected = gradient_of(losses, params, batch)["scale"]
    np.testing.assert_allclose(slopes["scale"], expected, rtol=0.02)


def test_a_scale_of_one_loss_for_all_examples_is_moved_as_far_as_other_weights():
    def loss(params, batch):
        return jnp.mean((params["scale"] * batch["x"] - 1) ** 2) + 1e3

    params, batch = {"scale": jnp.asarray([0.5])}, {"x": normal(N)}
    _, slopes, _ = jax.jit(value_and_slopes(loss, probes.weights()))(KEY, params, batch)
    _, said, _ = jax.jit(value_and_slopes(loss, probes.weights(probes.MOVE)))(KEY, params, batch)
    np.testing.assert_array_equal(slopes["scale"], said["scale"])
