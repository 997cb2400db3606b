"""Slopes of leaves in other layouts, types and frameworks than plain float32 matrices [in, out]."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from gradients import gradient_of

from rso_jax import step
from rso_jax.slopes import probes, slopes_method, value_and_slopes

KEY = jax.random.key(5)
RNG = np.random.default_rng(3)
N = 32
X, Y = jnp.asarray(RNG.standard_normal((N, 6)), jnp.float32), jnp.asarray(RNG.integers(0, 3, N))
BATCH = {"x": X, "y": Y}


def normal(*shape):
    return jnp.asarray(0.5 * RNG.standard_normal(shape), jnp.float32)


def entropy(logits, batch):
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])


def outputs_first():
    def losses(params, batch):
        hidden = jnp.tanh(params["in"] @ batch["x"].T + params["shift"])
        return entropy((params["out"] @ hidden).T, batch)

    return losses, {"in": normal(5, 6), "shift": normal(5, 1), "out": normal(3, 5)}


def stacked_layers():
    def losses(params, batch):
        h, _ = jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), batch["x"], params["layers"])
        return entropy(h @ params["out"], batch)

    return losses, {"layers": normal(2, 6, 6), "out": normal(6, 3)}


def heads():
    def losses(params, batch):
        mixed = jnp.einsum("nk,khd->nhd", batch["x"], params["query"])
        return entropy(jnp.einsum("nhd,hdo->no", jnp.tanh(mixed), params["out"]), batch)

    return losses, {"query": normal(6, 2, 3), "out": normal(2, 3, 3)}


def penalised():
    """The weights reach the loss by another way than their product, too."""

    def losses(params, batch):
        logits = jnp.tanh(batch["x"] @ params["in"]) @ params["out"]
        return entropy(logits, batch) + 0.3 * jnp.sum(params["in"] ** 2)

    return losses, {"in": normal(6, 4), "out": normal(4, 3)}


def by_linen():
    module = nn.Sequential([nn.Dense(5), nn.LayerNorm(), nn.gelu, nn.Dense(3)])
    params = module.init(KEY, X)

    def losses(params, batch):
        return entropy(module.apply(params, batch["x"]), batch)

    return losses, params


def by_nnx():
    module = nnx.Sequential(
        nnx.Linear(6, 5, rngs=nnx.Rngs(0)), nnx.silu, nnx.Linear(5, 3, rngs=nnx.Rngs(1))
    )
    graph, params = nnx.split(module, nnx.Param)

    def losses(params, batch):
        return entropy(nnx.merge(graph, params)(batch["x"]), batch)

    return losses, params


def by_equinox():
    module = eqx.nn.MLP(6, 3, width_size=5, depth=1, activation=jnp.tanh, key=KEY)
    params, rest = eqx.partition(module, eqx.is_array)

    def losses(params, batch):
        return entropy(jax.vmap(eqx.combine(params, rest))(batch["x"]), batch)

    return losses, params


def by_haiku():
    hk = pytest.importorskip("haiku", reason="dm-haiku is not installed")
    net = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([5, 3], activation=jnp.tanh)(x)))

    def losses(params, batch):
        return entropy(net.apply(params, batch["x"]), batch)

    return losses, net.init(KEY, X)


MODELS = {
    make.__name__: make
    for make in (
        *(outputs_first, stacked_layers, heads, penalised),
        *(by_linen, by_nnx, by_equinox, by_haiku),
    )
}


@pytest.mark.parametrize("model", MODELS)
def test_slopes_point_where_the_gradient_does_in_every_layout(model):
    losses, params = MODELS[model]()
    _, slopes, _ = jax.jit(value_and_slopes(losses))(KEY, params, BATCH)
    expected = gradient_of(losses, params, BATCH)
    for (path, found), wanted in zip(
        jax.tree_util.tree_leaves_with_path(slopes), jax.tree.leaves(expected), strict=True
    ):
        name = jax.tree_util.keystr(path)
        cosine = jnp.sum(found * wanted) / jnp.linalg.norm(found) / jnp.linalg.norm(wanted)
        assert found.shape == wanted.shape
        assert cosine > 0.98, name
        assert 0.9 < jnp.linalg.norm(found) / jnp.linalg.norm(wanted) < 1.1, name


def test_batch_norm_over_an_axis_named_by_vmap_costs_what_it_costs_along_an_axis():
    params = {"in": normal(6, 5), "out": normal(5, 3)}

    def of_one(params, x):
        z = x @ params["in"]
        mean = jax.lax.pmean(z, "batch")
        return (z - mean) / jnp.sqrt(jax.lax.pmean((z - mean) ** 2, "batch") + 1e-5)

    def named(params, batch):
        z = jax.vmap(of_one, (None, 0), axis_name="batch")(params, batch["x"])
        return entropy(jnp.tanh(z) @ params["out"], batch)

    def along(params, batch):
        z = batch["x"] @ params["in"]
        z = (z - z.mean(0)) / jnp.sqrt(z.var(0) + 1e-5)
        return entropy(jnp.tanh(z) @ params["out"], batch)

    _, slopes, info = jax.jit(value_and_slopes(named))(KEY, params, BATCH)
    _, expected, other = jax.jit(value_and_slopes(along))(KEY, params, BATCH)
    assert info.image_evaluations == other.image_evaluations == N * (1 + 5 * 3 + 3)
    for found, wanted in zip(slopes.values(), expected.values(), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_dropout_by_a_key_for_each_example():
    params = {"in": normal(6, 5), "out": normal(5, 3)}

    def of_one(params, x, key):
        hidden = jnp.tanh(x @ params["in"])
        return eqx.nn.Dropout(0.5)(hidden, key=key) @ params["out"]

    def losses(params, batch):
        return entropy(jax.vmap(of_one, (None, 0, 0))(params, batch["x"], batch["key"]), batch)

    batch = BATCH | {"key": jax.random.split(KEY, N)}
    estimate = jax.jit(value_and_slopes(losses, probes.nodes(1e-3)))
    _, slopes, info = estimate(KEY, params, batch)
    assert info.image_evaluations == N * (1 + 5 + 3)
    expected = jax.grad(lambda params: losses(params, batch).mean())(params)
    for found, wanted in zip(slopes.values(), expected.values(), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-3)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
@pytest.mark.parametrize("way", ["weights", "cheapest"])
def test_weights_of_every_type_have_slopes_of_their_own(dtype, way):
    def losses(params, batch):
        logits = (batch["x"].astype(dtype) @ params["w"]).astype(
            jnp.promote_types(dtype, "float32")
        )
        return entropy(logits, batch)

    with jax.enable_x64(dtype == "float64"):
        # One weight far above the others, whose move must not be rounded away.
        params = {"w": normal(6, 3).at[0, 0].set(8.0).astype(dtype)}
        _, slopes, _ = jax.jit(value_and_slopes(losses, getattr(probes, way)()))(KEY, params, BATCH)
        assert slopes["w"].dtype == dtype and np.isfinite(np.asarray(slopes["w"], float)).all()
        wide = params["w"].astype("float32")
        expected = gradient_of(lambda w, batch: entropy(batch["x"] @ w, batch), wide, BATCH)
        found = slopes["w"].astype("float32")
        cosine = jnp.sum(found * expected) / jnp.linalg.norm(found) / jnp.linalg.norm(expected)
        assert cosine > (0.99 if dtype == "float64" else 0.9)


def test_an_evaluation_that_is_not_finite_tells_nothing():
    def losses(params, batch):
        z = batch["x"] @ params["w"]
        return jnp.where(z[:, 0] > 1.5, jnp.nan, 0.0) + entropy(z, batch)

    start = {"w": normal(6, 3)}
    for way in (probes.cheapest(), probes.weights()):
        _, slopes, _ = jax.jit(value_and_slopes(losses, way))(KEY, start, BATCH)
        assert jnp.isfinite(slopes["w"]).all()


def test_the_optimiser_never_sees_what_is_not_searched():
    def losses(params, batch):
        return entropy(batch["x"] @ params["w"] + params["shift"], batch)

    params = {"w": normal(6, 3), "shift": normal(3), "keys": jax.random.split(KEY, 2)}
    method = slopes_method(
        losses, optax.adamw(0.1, weight_decay=0.5), searched=lambda path: path == "w"
    )
    state, info = step(
        method, KEY, method.init(KEY, params), jax.tree.map(lambda a: a[None], BATCH)
    )
    np.testing.assert_array_equal(state.params["shift"], params["shift"])
    assert (state.params["keys"] == params["keys"]).all()
    assert not np.array_equal(state.params["w"], params["w"])
    assert info.weight_updates == 18
