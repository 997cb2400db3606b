"""A search decides the same whichever way a kernel is stored, and tells it in the stored shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from searching import stage_of

from rso_jax import rso, step
from rso_jax.errors import UserError
from rso_jax.leaves import describe_leaves
from rso_jax.method import run_stage
from rso_jax.search import minibatches, sigma
from rso_jax.search.joint import Block, accepted, parabola

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (3, 4, 6, 6, 2))


def image_loss(params, x):
    """Convolution [height, width, in, out], then heads [in, heads, width], with biases."""
    h = lax.conv_general_dilated(
        x, params["conv"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    h = jnp.tanh(h + params["bias"]).mean((1, 2))
    return jnp.mean(jax.nn.gelu(h @ params["heads"].reshape(3, 4)) ** 2 - h @ params["out"])


def turned_loss(params, x):
    """The same with kernels [out, in, height, width], [heads, width, in] and [out, in]."""
    h = lax.conv_general_dilated(
        x.transpose(0, 3, 1, 2),
        params["conv"],
        (1, 1),
        "VALID",
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
    )
    h = jnp.tanh(h + params["bias"][:, None, None]).mean((2, 3))
    heads = jnp.einsum("nd,hkd->nhk", h, params["heads"])
    return jnp.mean(
        jax.nn.gelu(heads.reshape(-1, 4)) ** 2 - jax.vmap(lambda h: params["out"] @ h)(h)
    )


def image_params():
    conv, heads, out, bias = jax.random.split(jax.random.key(2), 4)
    return {
        "bias": 0.3 * jax.random.normal(bias, (3,)),
        "conv": jax.random.normal(conv, (2, 3, 2, 3)) / 3,
        "heads": jax.random.normal(heads, (3, 2, 2)),
        "out": jax.random.normal(out, (3, 4)),
    }


ORDER = {"conv": (3, 2, 0, 1), "heads": (1, 2, 0), "out": (1, 0), "bias": (0,)}


def turned(tree):
    return {name: jnp.transpose(array, ORDER[name]) for name, array in tree.items()}


@pytest.mark.parametrize(
    ("block", "paths"),
    [
        (None, {"bias", "conv", "heads", "out"}),
        (Block("column", accepted()), {"heads"}),
        (Block("leaf", parabola()), {"conv", "heads"}),
    ],
)
def test_kernels_stored_outputs_first_are_searched_alike(block, paths):
    settings = {"block": block, "minibatches": minibatches.cycled, "weight_decay": 0.01}
    settings["searched"] = lambda path: path in paths
    plain, other = rso(image_loss, **settings), rso(turned_loss, **settings)
    states = plain.init(KEY, image_params()), other.init(KEY, turned(image_params()))
    for cycle in range(2):
        key = jax.random.fold_in(KEY, cycle)
        (a, info), (b, turned_info) = (
            step(s, key, t, X) for s, t in zip((plain, other), states, strict=True)
        )
        states = a, b
        for name, found in turned_info.stages.items():
            array = jnp.transpose(a.params[name], ORDER[name])
            np.testing.assert_allclose(b.params[name], array, atol=1e-4, err_msg=name)
            choices = jnp.transpose(info.stages[name].choices, ORDER[name])
            np.testing.assert_array_equal(found.choices, choices, err_msg=name)
            losses = jnp.transpose(info.stages[name].losses, ORDER[name])
            np.testing.assert_allclose(found.losses, losses, atol=1e-4, err_msg=name)
    assert info.accepted > 0 and set(turned_info.stages) == paths


def test_they_cost_the_same():
    plain = rso(image_loss).cost(image_params(), X)
    other = rso(turned_loss).cost(turned(image_params()), X)
    for a, b in zip(plain, other, strict=True):
        assert (a.path, a.columns, a.fan_in, a.weights) == (b.path, b.columns, b.fan_in, b.weights)
        assert b.candidate_flops < 1.2 * a.candidate_flops < a.forward_flops


def layers_loss(params, x):
    """A scan over layers, each with a bias."""
    (y, kernels, biases), x = (params["last"], params["kernel"], params["bias"]), x.reshape(4, 72)
    x, _ = lax.scan(
        lambda h, layer: (jnp.tanh(h @ layer[0] + layer[1]), None), x[:, :4], (kernels, biases)
    )
    return jnp.mean((x @ y) ** 2)


def layers_params():
    kernel, last = jax.random.split(jax.random.key(3))
    return {
        "bias": jnp.full((3, 4), 0.1),
        "kernel": jax.random.normal(kernel, (3, 4, 4)) / 2,
        "last": jax.random.normal(last, (4, 1)),
    }


@pytest.mark.parametrize("evaluation", ["column", "cached", "full"])
def test_layers_stacked_by_scan(evaluation):
    """A sweep in parts, the loss told of every weight the one that it leads to."""
    search = rso(layers_loss, evaluation=evaluation, minibatches=minibatches.per_leaf)
    state = search.init(KEY, layers_params())
    leaves = {leaf.path: leaf for leaf in describe_leaves(layers_loss, layers_params(), X[0])}
    assert leaves["kernel"].form == (4, 12) and leaves["bias"].form == (12,)
    stage = stage_of(search, KEY, state, "kernel", X)
    prepared = search.prepare(KEY, state, stage, X)
    whole, info = search.advance(KEY, state, stage, prepared, 0, 48)
    first, _ = search.advance(KEY, state, stage, prepared, 0, 20)
    parted, _ = search.advance(KEY, first, stage, prepared, 20, 48)
    np.testing.assert_allclose(parted.params["kernel"], whole.params["kernel"], atol=1e-6)
    changed = whole.params["kernel"] != state.params["kernel"]
    np.testing.assert_array_equal(changed, info.choices != 0)
    # Layers one after the other, within one outputs, within these inputs.
    last = layers_loss(whole.params, jax.tree.map(lambda a: a[0], prepared.batches))
    np.testing.assert_allclose(info.losses[2, 3, 3], last, rtol=1e-5)
    np.testing.assert_allclose(info.loss, last, rtol=1e-5)
    spread = prepared.candidates[:, 1:] - prepared.candidates[:, :1]
    assert 0.5 < float(jnp.std(spread)) / np.sqrt(2 / 4) < 1.5


def test_layers_of_a_scan_are_blocks_of_their_own():
    seen = []

    def seen_step(tried, losses):
        seen.append(tried.shape)
        return accepted()(tried, losses)

    search = rso(layers_loss, block=Block("leaf", seen_step))
    state = search.init(KEY, layers_params())
    stage = stage_of(search, KEY, state, "kernel", X)
    assert stage.boundaries.tolist() == [0, 16, 32, 48]
    _, info = run_stage(search, KEY, state, stage, X)
    assert info.decisions == 3 and {shape[:2] for shape in seen} == {(4, 4)}


def test_sigma_of_every_weight_is_in_the_stored_shape():
    params = turned(image_params())
    only = jax.tree.map(jnp.zeros_like, params) | {
        "heads": jnp.zeros((2, 2, 3)).at[1, 0, 2].set(0.5)
    }
    search = rso(turned_loss, sigma=only)
    after, _ = step(search, KEY, search.init(KEY, params), X)
    changed = {name: np.argwhere(after.params[name] != params[name]).tolist() for name in params}
    assert changed == {"bias": [], "conv": [], "heads": [[1, 0, 2]], "out": []}


def test_the_user_says_where_the_outputs_are():
    def fan_ins(**settings):
        costs = rso(image_loss, **settings).cost(image_params(), X)
        return {cost.path: (cost.columns, cost.fan_in) for cost in costs}

    found = {"bias": (3, None), "conv": (3, 12), "heads": (4, 3), "out": (4, 3)}
    assert fan_ins() == found
    assert fan_ins(outputs={"heads": -1}) == found | {"heads": (2, 6)}
    assert fan_ins(outputs={"heads": (2, 0), "bias": ()}) == found | {
        "heads": (6, 2),
        "bias": (1, 3),
    }
    own = {"heads": (2, 0), "bias": ()}
    told = rso(image_loss, outputs=own, searched=lambda path: path in own)
    after, _ = step(told, KEY, told.init(KEY, image_params()), X)
    assert jax.tree.map(jnp.shape, after.params) == jax.tree.map(jnp.shape, image_params())


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({"head": 0}, "'head', which is no array; there are: bias, conv, heads, out"),
        ({"heads": 3}, "outputs says 3 of heads, of shape (3, 2, 2)"),
        ({"heads": (0, -3)}, "outputs says (0, -3) of heads"),
        ({"heads": "last"}, "outputs says 'last' of heads"),
    ],
)
def test_outputs_that_are_none(outputs, said):
    search = rso(image_loss, outputs=outputs)
    state = search.init(KEY, image_params())
    with pytest.raises(UserError) as told:
        step(search, KEY, state, X)
    assert said in str(told.value)


def test_he_without_a_loss():
    found = sigma.he(
        {
            "a": jnp.zeros((1, 32)),
            "b": jnp.zeros((32, 1)),
            "c": jnp.zeros((2, 3, 4)),
            "d": jnp.zeros(7),
        }
    )
    wanted = {"a": 0.25, "b": 0.25, "c": np.sqrt(2 / 6), "d": 0.167}
    assert {name: round(float(scale), 6) for name, scale in found.items()} == {
        name: round(float(np.float32(scale)), 6) for name, scale in wanted.items()
    }
