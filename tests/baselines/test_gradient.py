"""Gradient descent as a training method, against the equations."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rso_jax import UserError
from rso_jax.baselines import cosine_sgd, gradient_method
from rso_jax.method import Stage

RNG = np.random.default_rng(0)
BATCHES = {"x": jnp.asarray(RNG.normal(size=(6, 5, 3)), jnp.float32)}
PARAMS = {"w": jnp.asarray([0.5, -1.0, 2.0], jnp.float32)}


def loss_fn(params, batch):
    return jnp.mean((batch["x"] @ params["w"] - 1.0) ** 2)


def by_hand(steps):
    """Nesterov momentum, L2 penalty and a cosine, written out."""
    w, velocity = np.asarray(PARAMS["w"], np.float64), np.zeros(3)
    for i in range(steps):
        rate = 0.1 * 0.5 * (1 + np.cos(np.pi * i / 6))
        x = np.asarray(BATCHES["x"][i], np.float64)
        gradient = 2 * x.T @ (x @ w - 1.0) / 5 + 0.01 * w
        velocity = 0.9 * velocity + gradient
        w = w - rate * (gradient + 0.9 * velocity)
    return w


def test_an_epoch_in_two_parts_is_what_the_equations_say():
    method = gradient_method(loss_fn, cosine_sgd(learning_rate=0.1, steps=6, weight_decay=0.01))
    key = jax.random.key(0)
    state = method.init(key, PARAMS)
    (stage,) = method.stages(key, state, BATCHES)
    assert (stage.name, stage.visits) == ("steps", 6)
    prepared = method.prepare(key, state, stage, BATCHES)
    state, _ = method.advance(key, state, stage, prepared, 0, 2)
    state, info = method.advance(key, state, stage, prepared, 2, 6)
    np.testing.assert_allclose(method.params(state)["w"], by_hand(6), rtol=1e-5)
    assert info.image_evaluations == 3 * 4 * 5 and info.weight_updates == 4 * 3


def test_any_optax_transformation_will_do_and_keeps_the_type_of_the_weights():
    with jax.enable_x64(True):
        method = gradient_method(loss_fn, optax.adam(optax.cosine_decay_schedule(0.1, 6)))
        state = method.init(jax.random.key(0), PARAMS)
        state, _ = method.advance(
            jax.random.key(0), state, Stage("steps", np.arange(7)), BATCHES, 0, 6
        )
        assert method.params(state)["w"].dtype == jnp.float32


@pytest.mark.parametrize("wrong", [{"learning_rate": 0.0}, {"learning_rate": 1, "momentum": 1.0}])
def test_settings_that_cannot_work(wrong):
    with pytest.raises(UserError):
        cosine_sgd(steps=1, **wrong)


def two_losses(params, batch):
    first = batch["x"] @ params["w"]
    # By names that are not in the order of the alphabet.
    return {"z": jnp.mean((first - 1.0) ** 2), "a": jnp.mean((params["v"] * first) ** 2)}


def in_a_tuple(params, batch):
    return tuple(two_losses(params, batch).values())


@pytest.mark.parametrize("losses", [two_losses, in_a_tuple])
def test_of_several_losses_the_sum_is_lowered_and_the_last_reported(losses):
    params = {"w": PARAMS["w"], "v": jnp.float32(0.7)}
    key, rate = jax.random.key(0), 0.05
    method = gradient_method(losses, optax.sgd(rate))
    state, info = method.advance(
        key, method.init(key, params), Stage("steps", np.arange(6)), BATCHES, 0, 1
    )
    x, w, v = np.asarray(BATCHES["x"][0], np.float64), np.asarray(PARAMS["w"], np.float64), 0.7
    first = x @ w
    slope_w = 2 * x.T @ (first - 1) / 5 + 2 * v**2 * x.T @ first / 5
    slope_v = 2 * v * np.mean(first**2)
    found = method.params(state)
    np.testing.assert_allclose(found["w"], w - rate * slope_w, rtol=1e-5)
    np.testing.assert_allclose(found["v"], v - rate * slope_v, rtol=1e-5)
    assert float(info.loss) == pytest.approx(np.mean((v * first) ** 2), rel=1e-5)
