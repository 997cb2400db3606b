"""Networks of 8-bit numbers: whole numbers compute exactly what was trained."""

import json
import os
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rso_jax.data import load, normalize
from rso_jax.errors import UserError
from rso_jax.method import step
from rso_jax.networks import create, cross_entropy, loss_of
from rso_jax.networks.grids import put_on_grid, stay_on_grid
from rso_jax.networks.int8 import (
    UNIT,
    activate,
    export_int8,
    grid,
    predict_int8,
    quantise_images,
)
from rso_jax.slopes import slopes_method
from rso_jax.slopes.probes import nodes

KEY = jax.random.key(0)
ROOT = Path(__file__).parents[2]
MNIST = Path(os.environ.get("RSO_TEST_TFDS") or ROOT.parent / "shared/tfds")
PUBLISHED = ROOT / "experiments" / "results" / "discrete" / "int8-slopes-seed0"


@jax.jit
def put_on_their_grid(params):
    return put_on_grid(grid, jax.tree.map(grid.bound, params))


@partial(jax.jit, static_argnums=0)
def evaluate(network, params, images):
    return network.evaluate(params, {}, images)


def network_of(inputs, hidden, classes=7):
    return create("mlp", (inputs,), classes, hidden, "none", activation="int8", weights="int8")


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from([(1000, ()), (1, (3,)), (64, (40, 1, 9))]),
    st.integers(0, 2**31 - 1),
    st.floats(0.1, 30),
)
def test_whole_numbers_give_the_logits_of_the_network_to_the_last_bit(layers, seed, spread):
    network, rng = network_of(*layers), np.random.default_rng(seed)
    images = (spread * rng.normal(size=(9, layers[0]))).astype(np.float32)
    shapes = jax.eval_shape(network.init, KEY, images[:1])
    wild = jax.tree.map(lambda a: (spread * rng.normal(size=a.shape)).astype(a.dtype), shapes)
    params = put_on_their_grid(wild)
    arrays = export_int8(params)
    x = quantise_images(images).astype(np.int64)
    for i in range(len(params)):
        x = x @ arrays[f"kernel_{i}"].astype(np.int64) + arrays[f"bias_{i}"]
        assert np.abs(x).max() < 2**24
        if i < len(params) - 1:
            x = np.clip(np.floor(x / 2 ** arrays[f"shift_{i}"] + 0.5), 0, 127).astype(np.int64)
    logits = evaluate(network, params, images)
    sums = np.asarray(logits, np.float64) / UNIT * 2 ** arrays[f"shift_{len(params) - 1}"]
    np.testing.assert_array_equal(sums, x)
    np.testing.assert_array_equal(
        predict_int8(arrays, quantise_images(images)), np.asarray(logits).argmax(1)
    )


def test_a_trained_network_is_deployed_as_it_was_trained():
    network = network_of(6, (12,), 3)
    x = jax.random.normal(KEY, (4, 50, 6))
    batches = {"image": x, "label": (x[..., 0] > 0) + (x[..., 1] > 0).astype(int)}
    losses = loss_of(network, lambda *found: cross_entropy(*found, reduction="none"))
    method = slopes_method(losses, stay_on_grid(optax.adam(0.03), grid), nodes(0.1))
    state = method.init(KEY, network.init(KEY, x[0, :1]))
    for epoch in range(8):
        state, _ = step(method, jax.random.fold_in(KEY, epoch), state, batches)
    params = method.params(state)
    images, labels = np.asarray(x[0]), np.asarray(batches["label"][0])
    found = predict_int8(export_int8(params), quantise_images(images))
    assert (found == labels).mean() > 0.9
    np.testing.assert_array_equal(found, network.evaluate(params, {}, images).argmax(1))


@pytest.mark.skipif(not (MNIST / "mnist").is_dir(), reason=f"no mnist in {MNIST}")
def test_the_published_network_comes_to_its_accuracy_by_whole_numbers():
    data = normalize(load("mnist", MNIST), "standardize")
    with np.load(PUBLISHED / "params.npz") as saved:
        layers = {
            layer: {part: saved[f"params/{layer}/{part}"] for part in ("kernel", "bias")}
            for layer in ("hidden1", "output")
        }
    found = predict_int8(export_int8(layers), quantise_images(data.x_test))
    *_, last = (PUBLISHED / "metrics.jsonl").read_text().splitlines()
    assert (found == data.y_test).mean() == json.loads(last)["test_accuracy"]


def test_an_activation_is_rounded_and_passes_gradients_where_it_is_not_cut():
    z = jnp.array([-1.0, 0.02, 0.032, 1.0, 7.9, 9.0])
    np.testing.assert_array_equal(activate(z), [0, 0, 1 / 16, 1, 126 / 16, 127 / 16])
    np.testing.assert_array_equal(jax.vmap(jax.grad(activate))(z), [0, 1, 1, 1, 1, 0])


def test_what_is_no_network_of_whole_numbers_is_refused():
    for shape, model, norm in (((1001,), "mlp", "none"), ((4,), "mlp", "batch")):
        with pytest.raises(UserError, match=r"activation int8|inputs"):
            create(model, shape, 3, (4,), norm, activation="int8")
    network = create("mlp", (4,), 3, (4,), "none")
    params = network.init(KEY, jnp.zeros((1, 4)))
    with pytest.raises(UserError, match="--weights int8"):
        export_int8(params)
    with_norm = create("mlp", (4,), 3, (4,)).init(KEY, jnp.zeros((1, 4)))
    with pytest.raises(UserError, match="no matrix with a bias"):
        export_int8(with_norm)
