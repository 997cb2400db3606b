"""Losses of any type and make: narrow, counted, of one size, called back, not of examples."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gradients import gradient_of

from rso_jax.errors import UserError
from rso_jax.slopes import probes, value_and_slopes

KEY = jax.random.key(2)
RNG = np.random.default_rng(5)
N = 6


def normal(*shape):
    return jnp.asarray(0.5 * RNG.standard_normal(shape), jnp.float32)


BATCH = {"x": normal(N, 5), "y": jnp.asarray(RNG.integers(0, 3, N))}
PARAMS = {"w": normal(5, 3)}


def entropy(params, batch):
    logits = jnp.tanh(batch["x"] @ params["w"])
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])


def estimate(losses, way=None, params=PARAMS):
    value, slopes, info = jax.jit(value_and_slopes(losses, way))(KEY, params, BATCH)
    return value, slopes, int(info.image_evaluations) // N - 1


def points_along(slopes, losses, params=PARAMS):
    expected = gradient_of(losses, params, BATCH)
    for name, slope in slopes.items():
        cosine = jnp.sum(slope * expected[name])
        cosine /= jnp.linalg.norm(slope) * jnp.linalg.norm(expected[name])
        assert cosine > 0.98, name


@pytest.mark.parametrize("way", [probes.weights(3.0), probes.nodes(3.0)])
@pytest.mark.parametrize("dtype", [bool, "uint8"])
def test_losses_may_be_counts(dtype, way):
    def errors(params, batch):
        return (jnp.argmax(batch["x"] @ params["w"], -1) != batch["y"]).astype(dtype)

    value, slopes, _ = estimate(errors, way)
    assert value == errors(PARAMS, BATCH).mean()
    # A number that wraps around below 0 would be hundreds of errors.
    assert 0 < jnp.abs(slopes["w"]).max() < 100


def test_narrow_losses_are_not_averaged_narrowly():
    def narrow(params, batch):
        return entropy(params, batch).astype("bfloat16")

    value, _, _ = estimate(narrow)
    np.testing.assert_allclose(value, narrow(PARAMS, BATCH).astype("float32").mean(), rtol=1e-6)
    assert jnp.any(estimate(narrow, probes.weights(0.5))[1]["w"] != 0)


def test_losses_of_one_number_of_examples_are_probed_by_weights():
    def fixed(params, batch):
        return entropy(params, batch | {"x": batch["x"].reshape(N, 5)})

    _, slopes, evaluations = estimate(fixed)
    points_along(slopes, entropy)
    assert evaluations == 5 * 3
    with pytest.raises(UserError, match="cannot be traced for more examples"):
        estimate(fixed, probes.nodes())


def test_losses_that_are_as_many_as_examples_need_not_be_theirs():
    def of_classes(params, batch):
        logits = batch["x"] @ jnp.concatenate([params["w"], -params["w"]], axis=1)
        return (jax.nn.softmax(logits)[:, :N] ** 2).mean(0)

    _, slopes, evaluations = estimate(of_classes)
    assert evaluations == 5 * 3
    points_along(slopes, of_classes)


@pytest.mark.parametrize("way", [probes.weights(), probes.nodes()])
def test_a_host_that_takes_one_call_at_a_time_gets_one_at_a_time(way):
    def called(params, batch):
        found = entropy(params, batch)
        shape = jax.ShapeDtypeStruct(found.shape, found.dtype)
        return jax.pure_callback(np.asarray, shape, found)

    np.testing.assert_allclose(
        estimate(called, way)[1]["w"], estimate(entropy, way)[1]["w"], atol=1e-4
    )


def test_a_loss_may_print():
    def printed(params, batch):
        found = entropy(params, batch)
        jax.debug.callback(lambda value: None, found.mean())
        return found

    points_along(estimate(printed)[1], entropy)


@pytest.mark.parametrize("size", [1e-3, 1e-5, 1e-7])
def test_biases_near_zero_have_slopes_by_weight_probes(size):
    params = PARAMS | {"b": size * normal(3)}

    def shifted(params, batch):
        logits = jnp.tanh(batch["x"] @ params["w"] + params["b"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])

    points_along(estimate(shifted, probes.weights(), params)[1], shifted, params)


def test_evaluations_beyond_integers_are_counted_too():
    params, batch = {"w": jnp.ones(2**20)}, jax.ShapeDtypeStruct((2**12,), jnp.float32)

    def loss(params, x):
        return jnp.sum(params["w"]) * jnp.mean(x)

    one = value_and_slopes(loss, probes.weights())
    info = jax.eval_shape(one, KEY, params, batch)[2]
    assert info.image_evaluations.dtype == jnp.float32
