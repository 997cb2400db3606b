"""Heads and readouts: what the bins cover, which logits there are in which order, and what they
cost beside the network without them."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from rso_jax import UserError, rso, step
from rso_jax.networks import (
    MLP,
    Head,
    PaperMnist,
    create,
    cross_entropy,
    from_linen,
    from_nnx,
    linen_network,
    loss_of,
    nnx_network,
    readouts,
)
from rso_jax.networks.heads import count_in_heads, head_of, shares_of_bins
from rso_jax.networks.models import gives_logits
from rso_jax.slopes import slopes_method, value_and_slopes
from rso_jax.slopes.probes import cheapest
from rso_jax.tasks import calibrate, score
from rso_jax.trees import named_leaves

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def drawn(network, images):
    """Parameters of its shapes: initialisers take longer to compile than what is tested."""
    shapes = jax.eval_shape(network.init, KEY, images)
    return jax.tree.map(
        lambda a: normal(*a.shape) / np.float32(np.prod(a.shape[:-1])) ** 0.5, shapes
    )


def plain_bins(images, bins):
    """Mean by mean, every bin from the floor of its start to the ceiling of its end."""

    def pixels(i, size):
        return slice(int(np.floor(i * size / bins)), int(np.ceil((i + 1) * size / bins)))

    _, height, width, _ = images.shape
    means = [
        images[:, pixels(i, height), pixels(j, width)].mean((1, 2))
        for i in range(bins)
        for j in range(bins)
    ]
    return np.stack(means, axis=-1)


@pytest.mark.parametrize(
    ("height", "width", "bins"), [(8, 8, 4), (7, 7, 4), (14, 9, 4), (5, 6, 5), (3, 4, 1)]
)
def test_bins_are_means_of_all_pixels(height, width, bins):
    images = normal(2, height, width, 3)
    averages = np.einsum("nhwc,hwb->ncb", images, shares_of_bins(images.shape[1:3], bins))
    np.testing.assert_allclose(averages, plain_bins(images, bins), atol=1e-6)


def test_a_head_is_one_linear_map_of_the_bins():
    images = normal(5, 7, 7, 3)
    head = Head(classes=4, bins=2)
    logits, variables = head.init_with_output(KEY, images)
    kernel = np.asarray(variables["params"]["kernel"])
    assert kernel.shape == (3, 4, 4)
    expected = plain_bins(images, 2).reshape(5, -1) @ kernel.reshape(-1, 4)
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_a_head_begins_with_the_he_deviation():
    kernel = Head(classes=50, bins=4).init(KEY, jnp.zeros((1, 8, 8, 16)))["params"]["kernel"]
    assert float(kernel.std()) == pytest.approx((2 / (16 * 16)) ** 0.5, rel=0.03)


def test_a_wide_head_has_a_hidden_layer_the_same_at_every_pixel():
    images = normal(5, 7, 7, 3)
    head = Head(classes=4, bins=2, width=6)
    # Biases begin at 0, where they would tell nothing.
    params = jax.tree.map(lambda a: np.asarray(a) + 0.1, head.init(KEY, images)["params"])
    logits = head.apply({"params": params}, images)
    hidden = images @ params["hidden"]["kernel"] + params["hidden"]["bias"]
    assert hidden.shape == (5, 7, 7, 6)
    bins = plain_bins(np.maximum(hidden, 0), 2).reshape(5, -1)
    np.testing.assert_allclose(logits, bins @ params["kernel"].reshape(-1, 4), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "bins", "said"),
    [
        ((2, 3, 5, 1), 4, "an output of 3x5 pixels takes 1 to 3"),
        ((2, 4, 4, 1), 0, "0 bins a side"),
        ((2, 7), 3, "this output has no pixels: heads=1"),
        ((2, 7, 3), 1, r"an output of shape \(2, 7, 3\)"),
    ],
)
def test_outputs_that_a_head_cannot_see(shape, bins, said):
    with pytest.raises(UserError, match=said):
        Head(classes=3, bins=bins).init(KEY, jnp.zeros(shape))


NETWORKS = [
    ("paper-mnist", (28, 28, 1), 4, 12_016, 6 * 16 * 16 * 10, [f"conv{i}" for i in range(1, 7)]),
    (
        *("paper-cifar10", (32, 32, 3), 2, 57_104),
        *((3 * 16 + 6 * 32) * 4 * 10, [f"conv{i}" for i in range(1, 10)]),
    ),
]


@pytest.mark.parametrize(("name", "shape", "bins", "scalars", "in_heads", "layers"), NETWORKS)
def test_every_convolution_has_a_head(name, shape, bins, scalars, in_heads, layers):
    network = create(name, shape, 10, heads=bins)
    image = jnp.zeros((2, *shape))
    params = jax.eval_shape(network.init, KEY, image)
    assert count_in_heads(params) == in_heads
    assert sum(a.size for a in jax.tree.leaves(params)) == scalars + in_heads
    assert {f"{layer}_head" for layer in layers} < set(params)
    names = []
    jax.eval_shape(lambda p: names.extend(network.logits(p, image)), params)
    assert names == [*layers, "output"]


def small_mlp(**changed):
    return create("mlp", (4,), 3, hidden=(5,) * 11, **changed)


def test_losses_come_in_the_order_of_the_network_and_not_of_the_alphabet():
    network, batch = small_mlp(heads=1), {"image": normal(6, 4), "label": np.arange(6) % 3}
    params = drawn(network, batch["image"])
    losses = loss_of(network)(params, batch)
    assert list(losses) == [*(f"hidden{i}" for i in range(1, 12)), "output"]
    assert all(loss.shape == () for loss in losses.values())


@pytest.mark.parametrize("name", ["paper-mnist", "paper-cifar10", "mlp"])
def test_a_network_with_heads_is_the_network_without_them_and_heads(name):
    shape, bins = {"paper-mnist": ((28, 28, 1), 3), "paper-cifar10": ((32, 32, 3), 3)}.get(
        name, ((4,), 1)
    )
    images = normal(3, *shape)
    plain, headed = create(name, shape, 10), create(name, shape, 10, heads=bins)
    params, more = (jax.jit(one.init)(KEY, images) for one in (plain, headed))
    for layer, arrays in params.items():
        jax.tree.map(np.testing.assert_array_equal, arrays, more[layer])
    own = jax.jit(headed.logits)(more, images)["output"]
    np.testing.assert_allclose(own, jax.jit(plain.logits)(params, images), atol=1e-6)


def test_a_head_sees_the_output_of_its_layer_after_the_relu():
    images = normal(3, 28, 28, 1)
    module = PaperMnist(heads=4)
    params = jax.jit(module.init)(KEY, images)
    observed = {"mutable": ["batch_stats", "intermediates"], "capture_intermediates": True}
    found, state = jax.jit(partial(module.apply, **observed))(params, images)
    for layer in ("conv2", "conv6"):
        output = np.asarray(state["intermediates"][layer]["__call__"][-1])
        kernel = np.asarray(params["params"][f"{layer}_head"]["kernel"]).reshape(-1, 10)
        seen = plain_bins(np.maximum(output, 0), 4).reshape(3, -1)
        np.testing.assert_allclose(found[layer], seen @ kernel, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "shape", "bins", "said"),
    [
        ("evojax-mnist", (28, 28, 1), 4, "has no heads; those that do are mlp, paper-mnist"),
        ("paper-mnist", (28, 28, 1), 8, "heads is 8; for model paper-mnist it is at most 7"),
        ("paper-cifar10", (32, 32, 3), 9, "at most 8"),
        ("mlp", (4,), 2, "at most 1: its layers have no pixels"),
        ("mlp", (4,), 0, "at least 1"),
        ("mlp", (4,), 1.5, "whole number"),
    ],
)
def test_heads_that_a_network_cannot_have(name, shape, bins, said):
    with pytest.raises(UserError, match=said):
        create(name, shape, 10, heads=bins)


@pytest.mark.parametrize(
    ("bins", "width", "said"),
    [
        (None, 8, "head_width is 8 but there are no heads; add heads"),
        (1, 0, "head_width is 0; it must be at least 1"),
        (1, 2.5, "whole number"),
    ],
)
def test_widths_that_heads_cannot_have(bins, width, said):
    with pytest.raises(UserError, match=said):
        create("mlp", (4,), 3, heads=bins, head_width=width)


def test_weights_of_hidden_layers_of_heads_are_counted_and_give_no_logits():
    network = create("paper-cifar10", (32, 32, 3), 10, heads=2, head_width=5)
    params = jax.eval_shape(network.init, KEY, jnp.zeros((2, 32, 32, 3)))
    hidden = 3 * (16 + 1) * 5 + 6 * (32 + 1) * 5
    assert count_in_heads(params) == hidden + 9 * 5 * 4 * 10
    assert gives_logits("conv1_head/kernel") and not gives_logits("conv1_head/hidden/kernel")
    assert gives_logits("hidden/conv1_head/kernel")
    assert head_of("a/conv1_head/hidden/kernel") == "a/conv1_head" and head_of("conv1/kernel") == ""


def test_a_hidden_layer_of_a_head_wants_a_relu_and_a_network_with_heads():
    with pytest.raises(UserError, match="head_width is 4 with activation sign"):
        create("mlp", (4,), 3, heads=1, head_width=4, activation="sign")
    with pytest.raises(UserError, match="evojax-mnist has no heads"):
        create("evojax-mnist", (28, 28, 1), 10, head_width=4)


def test_slopes_of_a_layer_with_a_wide_head_are_those_of_its_own_loss():
    network = create("paper-mnist", (28, 28, 1), 3, heads=2, head_width=3)
    batch = {"image": normal(8, 28, 28, 1), "label": np.arange(8) % 3}
    params = drawn(network, batch["image"])
    each, mean = (loss_of(network, partial(cross_entropy, reduction=r)) for r in ("none", "mean"))
    chosen = ("conv3/kernel", "conv3/scale", "conv3/bias", "conv3_head/kernel")
    chosen += ("conv3_head/hidden/kernel", "conv3_head/hidden/bias")
    find = value_and_slopes(each, cheapest(), searched=lambda path: path in chosen)
    _, slopes, _ = jax.jit(find)(KEY, params, batch)
    gradient = jax.jit(jax.grad(lambda p: mean(p, batch)["conv3"]))(params)
    for path in chosen:
        a, b = (np.ravel(named_leaves(tree)[path]) for tree in (slopes, gradient))
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.97


LOGITS = {"b": normal(5, 3), "a": normal(5, 3), "c": normal(5, 3), "own": normal(5, 3)}


def log_shares(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_readouts_against_numpy():
    np.testing.assert_array_equal(readouts.last_layer(LOGITS), LOGITS["own"])
    np.testing.assert_array_equal(readouts.last_head(LOGITS), LOGITS["c"])
    votes = [log_shares(one) for one in LOGITS.values()]
    for readout, expected in (
        (readouts.add_log_probabilities(), sum(votes[:3])),
        (readouts.add_log_probabilities(2), sum(votes[1:3])),
        (readouts.add_log_probabilities(3, own=True), sum(votes[2:])),
    ):
        np.testing.assert_allclose(readout(LOGITS), expected, rtol=1e-5)


def test_readouts_that_find_no_heads():
    alone = {"own": LOGITS["own"]}
    for readout in (readouts.last_head, readouts.add_log_probabilities()):
        with pytest.raises(UserError, match="no heads"):
            readout(alone)
    with pytest.raises(UserError, match="number 4, of 3 heads: b, a, c"):
        readouts.add_log_probabilities(4)(LOGITS)
    with pytest.raises(UserError, match="at least 1"):
        readouts.add_log_probabilities(0)


class UsersLinen(nn.Module):
    """Two layers, batch norm, and logits of both, in a tuple or by names."""

    names: tuple[str, ...] = ()

    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(5)(x)))
        found = nn.Dense(3)(x), nn.Dense(3)(nn.relu(nn.Dense(4)(x)))
        return dict(zip(self.names, found, strict=True)) if self.names else found


class UsersNnx(nnx.Module):
    """The same in NNX."""

    def __init__(self, rngs):
        self.first = nnx.Linear(4, 5, rngs=rngs)
        self.head = nnx.Linear(5, 3, rngs=rngs)
        self.second = nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x):
        h = nnx.relu(self.first(x))
        return self.head(h), self.second(h)


FLAGS = {"searching": {"train": True}, "evaluating": {"train": False}}


def linen_case(module):
    def make(readout):
        network = linen_network(module, **FLAGS, readout=readout)
        return network.init(KEY, jnp.zeros((1, 4))), network

    return make


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (linen_case(UsersLinen()), ["0", "1"]),
        (linen_case(UsersLinen(("z", "a"))), ["z", "a"]),
        (lambda readout: nnx_network(UsersNnx(nnx.Rngs(0)), readout=readout), ["0", "1"]),
    ],
)
def test_a_module_of_ones_own_returns_a_tuple_or_names(make, names):
    images = normal(20, 4)
    params, network = make(None)
    logits = network.logits(params, images)
    assert list(logits) == names
    statistics = network.calibrate(params, images)
    for readout, expected in ((None, logits[names[1]]), (readouts.last_head, logits[names[0]])):
        _, network = make(readout)
        found = network.evaluate(params, statistics, images)
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_losses_of_a_module_of_ones_own():
    batch = {"image": normal(20, 4), "label": np.arange(20) % 3}
    params, losses = from_linen(
        UsersLinen(("z", "a")), KEY, batch["image"], searching={"train": True}
    )
    assert list(losses(params, batch)) == ["z", "a"]
    params, losses = from_nnx(UsersNnx(nnx.Rngs(0)))
    assert list(losses(params, batch)) == ["0", "1"]


def test_collections_without_logits_and_readouts_of_another_shape_are_refused():
    class Empty(nn.Module):
        @nn.compact
        def __call__(self, x):
            return ()

    with pytest.raises(UserError, match="no logits"):
        linen_network(Empty()).logits({}, jnp.zeros((2, 3)))
    broken = linen_network(MLP((5,), 3, "none", 1), readout=lambda logits: logits["hidden1"][0])
    params = broken.init(KEY, jnp.zeros((1, 4)))
    with pytest.raises(UserError, match=r"shape \(3,\); logits have \(2, 3\)"):
        broken.evaluate(params, {}, jnp.zeros((2, 4)))


def test_a_score_is_that_of_the_readout():
    images, labels = normal(30, 4), np.arange(30) % 3
    networks = {
        readout: small_mlp(heads=1, readout=readout)
        for readout in (None, readouts.last_head, readouts.add_log_probabilities(2))
    }
    params = drawn(networks[None], images)
    statistics = calibrate(networks[None], params, images)
    logits = {name: np.asarray(one) for name, one in networks[None].logits(params, images).items()}
    votes = sum(log_shares(one) for one in list(logits.values())[1:-1])
    expected = [logits["output"], logits["hidden11"], votes]
    for network, own in zip(networks.values(), expected, strict=True):
        found = score(network, params, statistics, images, labels)
        assert found.accuracy == pytest.approx(np.mean(own.argmax(1) == labels))


@pytest.mark.parametrize(
    ("layer", "leaf"),
    [("conv2", "conv2/kernel"), ("conv4", "conv4/scale"), ("conv2", "conv2_head/kernel")],
)
def test_a_search_on_one_loss_by_column_programs_decides_as_full_losses_do(layer, leaf):
    images, labels = normal(1, 6, 28, 28, 1), np.arange(6)[None] % 3
    batches = {"image": images, "label": labels}
    network = create("paper-mnist", (28, 28, 1), 3, heads=2)
    params = drawn(network, images[0])

    def loss(params, batch):
        return loss_of(network)(params, batch)[layer]

    search = rso(loss, searched=lambda path: path == leaf)
    state, info = step(search, KEY, search.init(KEY, params), batches)
    batch = {name: array[0] for name, array in batches.items()}
    assert int(info.accepted) > 0
    assert float(info.loss) == pytest.approx(float(jax.jit(loss)(state.params, batch)), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "shape", "bins", "features"),
    [("paper-mnist", (28, 28, 1), 4, 16 * 16), ("mlp", (4,), 1, 5)],
)
def test_columns_of_a_head_are_its_classes(name, shape, bins, features):
    settings = {"hidden": (5,)} if name == "mlp" else {}
    network = create(name, shape, 10, heads=bins, **settings)
    images = jnp.zeros((6, *shape))
    batches = {"image": images[None], "label": jnp.zeros((1, 6), int)}
    params = jax.eval_shape(network.init, KEY, images)
    method = slopes_method(
        loss_of(network, partial(cross_entropy, reduction="none")),
        optax.sgd(0.1),
        searched=lambda path: path.endswith("1_head/kernel"),
    )
    (head,) = method.cost(params, batches)
    assert (head.columns, head.height, head.positions) == (10, features, 1)
    assert (head.moves, head.evaluations) == ("nodes", 10)
