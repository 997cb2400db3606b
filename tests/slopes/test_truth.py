"""Slopes against derivatives, and against finite differences written without JAX."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gradients import gradient_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rso_jax.slopes import probes, value_and_slopes

KEY = jax.random.key(6)
RNG = np.random.default_rng(7)
EXAMPLES, TOKENS, WORDS, WIDTH = 24, 3, 5, 4


def normal(*shape, scale=0.5):
    return jnp.asarray(scale * RNG.standard_normal(shape), jnp.float32)


TEXT = {
    "text": jnp.asarray(RNG.integers(0, WORDS, (EXAMPLES, TOKENS))),
    "next": jnp.asarray(RNG.integers(0, WORDS, (EXAMPLES, TOKENS))),
}
TRANSFORMER = {
    "words": normal(WORDS, WIDTH, scale=1.0),
    "places": normal(TOKENS, WIDTH),
    "scale": normal(WIDTH) + 1,
    "query": normal(WIDTH, WIDTH),
    "value": normal(WIDTH, WIDTH),
    "hidden": {"kernel": normal(WIDTH, 6), "bias": normal(6)},
    "out": {"kernel": normal(6, WORDS), "bias": normal(WORDS)},
}


def transformer(params, batch):
    """One causal block, with a loss for every token."""
    h = (params["words"][batch["text"]] + params["places"]) * params["scale"]
    scores = jnp.einsum("ntk,nsk->nts", h @ params["query"], h)
    causal = jnp.tril(jnp.ones((TOKENS, TOKENS), bool))
    h = h + jax.nn.softmax(jnp.where(causal, scores, -1e9)) @ (h @ params["value"])
    h = jax.nn.gelu(h @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    logits = h @ params["out"]["kernel"] + params["out"]["bias"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["next"])


PERCEPTRON = {"in": normal(5, 6), "shift": normal(6), "out": normal(6, 2), "last": normal(2)}
IMAGES = {"x": normal(EXAMPLES, 5, scale=1.0), "y": normal(EXAMPLES, 2)}


def perceptron(params, batch, activation=jnp.tanh, floor=lambda z: z):
    hidden = activation(batch["x"] @ params["in"] + params["shift"])
    return ((floor(hidden @ params["out"] + params["last"]) - batch["y"]) ** 2).sum(-1)


def compare(losses, found, params, batch, cosine=0.98):
    """Refuse slopes that point elsewhere than the gradient, or are of another size, in any leaf."""
    expected = gradient_of(losses, params, batch)
    pairs = zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True)
    for (path, slope), wanted in pairs:
        slope, wanted = np.asarray(slope).ravel(), np.asarray(wanted).ravel()
        sizes = np.linalg.norm(slope), np.linalg.norm(wanted)
        name = jax.tree_util.keystr(path)
        assert slope @ wanted / np.prod(sizes) > cosine, name
        assert 0.9 < sizes[0] / sizes[1] < 1.1, name


@pytest.mark.parametrize(
    ("losses", "params", "batch"),
    [(perceptron, PERCEPTRON, IMAGES), (transformer, TRANSFORMER, TEXT)],
)
def test_node_probes_of_one_position_find_the_gradient_of_every_leaf(losses, params, batch):
    _, slopes, _ = jax.jit(value_and_slopes(losses, probes.nodes(0.01)))(KEY, params, batch)
    compare(losses, slopes, params, batch)


def test_nodes_of_masked_scaled_and_gated_weights_are_one_evaluation_each():
    mask = jnp.asarray(RNG.integers(0, 2, (5, 6)), jnp.float32)

    def losses(params, batch):
        z = batch["x"] @ (params["in"] * mask) / 2 + params["shift"]
        gated = z * jax.nn.sigmoid(batch["x"] @ params["gate"])
        return ((gated @ params["out"] - batch["y"]) ** 2).sum(-1)

    params = {name: PERCEPTRON[name] for name in ("in", "shift", "out")} | {"gate": normal(5, 6)}
    _, slopes, info = jax.jit(value_and_slopes(losses, probes.nodes(0.01)))(KEY, params, IMAGES)
    compare(losses, slopes, params, IMAGES)
    # The shift follows from what it is added to, or is probed itself.
    assert info.image_evaluations // EXAMPLES in (1 + 6 + 6 + 2, 1 + 6 + 6 + 2 + 6)


def test_what_examples_share_under_batch_norm_costs_two_evaluations():
    def losses(params, batch):
        z = batch["x"] @ params["in"]
        h = (z - z.mean(0)) * jax.lax.rsqrt(z.var(0) + 1e-5)
        return ((jnp.tanh(h) @ params["out"] - batch["y"]) ** 2).sum(-1)

    params = {"in": PERCEPTRON["in"], "out": PERCEPTRON["out"]}
    exact = gradient_of(losses, params, IMAGES)["in"]

    def cosine(common):
        estimate = jax.jit(value_and_slopes(losses, probes.nodes(0.005, common=common)))
        _, slopes, info = estimate(KEY, params, IMAGES)
        assert info.image_evaluations == (1 + 8 * (3 if common else 1)) * EXAMPLES
        found = slopes["in"]
        return jnp.sum(found * exact) / jnp.linalg.norm(found) / jnp.linalg.norm(exact)

    assert cosine(common=False) < 0.95 < 0.98 < cosine(common=True)


def test_nodes_and_weights_agree_on_whatever_the_loss_is_linear_in():
    def losses(params, batch):
        h = (params["words"][batch["text"]] + params["places"]) * params["scale"]
        h = jnp.cumsum(h @ params["hidden"]["kernel"] + params["hidden"]["bias"], axis=1)
        return h @ jnp.arange(1.0, 7.0)

    names = ("words", "places", "scale", "hidden")
    with jax.enable_x64(True):
        params = {name: TRANSFORMER[name] for name in names}
        params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), params)
        ways = probes.nodes(), probes.nodes(credit="following"), probes.weights()
        found = [jax.jit(value_and_slopes(losses, way))(KEY, params, TEXT)[1] for way in ways]
        exact = gradient_of(losses, params, TEXT)
        for slopes in found:
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8), slopes, exact)


# Without a derivative

STEPS = {"sign": np.sign, "round": np.round, "floor": np.floor}
BY_HAND = {k: np.asarray(v, np.float64) for k, v in PERCEPTRON.items()}


def by_hand(step, params, x, y):
    """Losses [n] in NumPy, with a step in the hidden units and one in the logits."""
    hidden = step(x @ params["in"] + params["shift"])
    return ((np.floor(hidden @ params["out"] + params["last"]) - y) ** 2).sum(-1)


def steps(step):
    return lambda params, batch: perceptron(params, batch, getattr(jnp, step), jnp.floor)


@pytest.mark.parametrize("step", STEPS)
def test_weight_probes_are_finite_differences(step):
    _, slopes, _ = jax.jit(value_and_slopes(steps(step), probes.weights(0.4)))(
        KEY, PERCEPTRON, IMAGES
    )
    x, y = (np.asarray(IMAGES[k], np.float64) for k in "xy")
    before = by_hand(STEPS[step], BY_HAND, x, y).mean()
    for name, array in BY_HAND.items():
        for place in np.ndindex(array.shape):
            column = array[..., place[-1]]
            size = 0.4 * max(np.sqrt(np.mean(column**2)), np.size(column) ** -0.5)
            moved = array.copy()
            moved[place] += size
            after = by_hand(STEPS[step], BY_HAND | {name: moved}, x, y).mean()
            np.testing.assert_allclose(
                slopes[name][place], (after - before) / size, rtol=1e-3, atol=1e-3
            )


@pytest.mark.parametrize("threshold", [0.0, 0.5])
@pytest.mark.parametrize("step", STEPS)
def test_a_threshold_is_of_what_the_activation_sees(step, threshold):
    way = probes.towards(threshold, 0.5)
    searched = {"in": True, "shift": True, "out": False, "last": False}
    estimate = jax.jit(value_and_slopes(steps(step), way, searched=searched))
    _, slopes, _ = estimate(KEY, PERCEPTRON, IMAGES)
    x, y = (np.asarray(IMAGES[k], np.float64) for k in "xy")
    z = x @ BY_HAND["in"] + BY_HAND["shift"]
    before = by_hand(STEPS[step], BY_HAND, x, y)
    for unit in range(z.shape[1]):
        size = 0.5 * np.sqrt(np.mean(z[:, unit] ** 2))
        change = np.where(z[:, unit] > threshold, -size, size)
        moved = z.copy()
        moved[:, unit] += change
        hidden = STEPS[step](moved)
        logits = np.floor(hidden @ BY_HAND["out"] + BY_HAND["last"])
        credit = (((logits - y) ** 2).sum(-1) - before) / change / EXAMPLES
        np.testing.assert_allclose(slopes["in"][:, unit], credit @ x, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(slopes["shift"][unit], credit.sum(), rtol=1e-3, atol=1e-3)


# Networks at random


@st.composite
def networks(draw):
    """Losses of a small smooth network, its parameters, a mini-batch, and what is searched."""
    widths = draw(st.lists(st.integers(1, 4), min_size=2, max_size=3))
    tokens = draw(st.sampled_from([(), (2,)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))

    def array(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    layers = [
        {"kernel": array(a, b)} | ({"bias": array(b)} if draw(st.booleans()) else {})
        for a, b in pairwise(widths)
    ]
    params = {"layers": layers, "count": np.arange(3, dtype=np.int32), "on": np.ones((), bool)}
    searched = jax.tree.map(lambda array: True, params)
    if frozen := draw(st.sampled_from(["", "kernel", "bias"])):
        searched["layers"][-1] = {name: name != frozen for name in layers[-1]}

    def losses(params, x):
        for layer in params["layers"]:
            x = jnp.tanh(x @ layer["kernel"] + layer.get("bias", 0))
        return jnp.sum(x + 0.3 * x**2, axis=-1)

    batch = array(draw(st.integers(2, 9)), *tokens, widths[0])
    return losses, params, batch, searched


@given(networks(), st.sampled_from(["cheapest", "nodes"]))
@settings(max_examples=8)
def test_slopes_of_networks_at_random_are_their_gradients(network, way):
    losses, params, batch, searched = network
    moved = searched["layers"]
    assume(any(jax.tree.leaves(moved)))
    estimate = jax.jit(value_and_slopes(losses, getattr(probes, way)(), searched=searched))
    value, slopes, _ = estimate(KEY, params, batch)

    def loss(layers, batch):
        return losses(params | {"layers": layers}, batch).mean()

    expected, exact = jax.jit(jax.value_and_grad(loss))(params["layers"], batch)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    exact = jax.tree.map(np.asarray, exact)
    wanted = {"layers": jax.tree.map(lambda a, b: a * np.float32(b), exact, moved)}
    wanted |= {"count": np.zeros(3, np.int32), "on": np.zeros((), bool)}
    size = max(np.abs(a).max() for a in jax.tree.leaves(exact))
    for found, a in zip(jax.tree.leaves(slopes), jax.tree.leaves(wanted), strict=True):
        assert (found.shape, found.dtype) == (a.shape, a.dtype)
        np.testing.assert_allclose(found, a, atol=0.05 * (size + 1))


BY_WEIGHTS = jax.jit(value_and_slopes(perceptron, probes.weights()))


@pytest.mark.parametrize("size", [0.0, 1e-6, 1e-3])
def test_weights_near_zero_are_moved_by_more_than_the_rounding_of_the_loss(size):
    small = {name: size * normal(*PERCEPTRON[name].shape) for name in ("shift", "out", "last")}
    params = PERCEPTRON | small
    _, slopes, _ = BY_WEIGHTS(KEY, params, IMAGES)
    expected = gradient_of(perceptron, params, IMAGES)
    for name in ("out", "last"):
        np.testing.assert_allclose(slopes[name], expected[name], rtol=0.05, atol=0.02, err_msg=name)


@pytest.mark.parametrize("common", [0.0, 30.0, 300.0])
def test_slopes_stay_true_however_large_logits_have_grown_in_common(common):
    """A fiftieth of hundreds goes far beyond where a loss bends that sees differences alone."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((400, 20)), jnp.float32)
    batch = {"x": x, "y": jnp.asarray(rng.integers(0, 3, 400))}

    def losses(params, batch):
        logits = batch["x"] @ params["kernel"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])

    kernel = common * rng.standard_normal((20, 1)) + 0.5 * rng.standard_normal((20, 3))
    params = {"kernel": jnp.asarray(kernel, jnp.float32)}
    estimate = jax.jit(value_and_slopes(losses, probes.nodes()))
    compare(losses, estimate(KEY, params, batch)[1], params, batch, cosine=0.999)
