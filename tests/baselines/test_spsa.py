"""SPSA as a training method, against its equations and against the gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rso_jax import UserError, step
from rso_jax.baselines import antithetic_slopes, cosine_sgd, spsa_method

KEY = jax.random.key(3)
RNG = np.random.default_rng(0)
BATCHES = {"x": jnp.asarray(RNG.normal(size=(6, 5, 3)), jnp.float32)}
ONE = {"x": BATCHES["x"][0]}
PARAMS = {"w": jnp.asarray([0.5, -1.0, 2.0], jnp.float32), "b": jnp.zeros((), jnp.float32)}
EPS = 0.05


def loss_fn(params, batch):
    return jnp.mean((batch["x"] @ params["w"] + params["b"] - batch["x"].sum(-1)) ** 2)


def along(directions, key):
    """The losses on both sides of each direction, and the mean of what they say."""
    losses, slopes = [], []
    for direction in directions:
        ahead, behind = (
            float(loss_fn(jax.tree.map(lambda a, d, s=s: a + s * EPS * d, PARAMS, direction), ONE))
            for s in (1, -1)
        )
        losses += [ahead, behind]
        rate = (ahead - behind) / (2 * EPS)
        slopes.append(jax.tree.map(lambda d, rate=rate: rate * d, direction))
    return np.mean(losses), jax.tree.map(lambda *a: np.mean(a, axis=0), *slopes)


@pytest.mark.parametrize("draw", [jax.random.rademacher, jax.random.normal])
def test_an_estimate_is_the_mean_over_its_pairs(draw):
    directions = []
    for pair in range(3):
        keys = jax.random.split(jax.random.fold_in(KEY, pair), 2)
        drawn = draw(keys[0], (), jnp.float32), draw(keys[1], (3,), jnp.float32)
        directions.append(dict(zip("bw", drawn, strict=True)))
    loss, slopes = antithetic_slopes(loss_fn, eps=EPS, pairs=3, draw=draw)(KEY, PARAMS, ONE)
    expected_loss, expected = along(directions, KEY)
    assert float(loss) == pytest.approx(expected_loss, rel=1e-5)
    for name in PARAMS:
        np.testing.assert_allclose(slopes[name], expected[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("draw", [jax.random.rademacher, jax.random.normal])
def test_the_mean_estimate_is_the_gradient(draw):
    """Exactly so of a parabola, whose two sides tell its slope; within four standard errors."""
    estimate = antithetic_slopes(loss_fn, eps=EPS, draw=draw)
    many = jax.vmap(lambda key: estimate(key, PARAMS, ONE)[1])(jax.random.split(KEY, 4000))
    for name, slope in jax.grad(loss_fn)(PARAMS, ONE).items():
        error = np.std(many[name], axis=0) / np.sqrt(4000)
        assert (np.abs(np.mean(many[name], axis=0) - slope) < 4 * error).all()


def test_a_cycle_is_a_step_of_optax_on_each_mini_batch_and_counts_its_evaluations():
    optimizer = optax.adam(0.05)
    method = spsa_method(loss_fn, optimizer, eps=EPS, pairs=2)
    found, info = step(method, KEY, method.init(KEY, PARAMS), BATCHES)
    estimate, params, inner = (
        antithetic_slopes(loss_fn, eps=EPS, pairs=2),
        PARAMS,
        optimizer.init(PARAMS),
    )
    for i, x in enumerate(BATCHES["x"]):
        loss, slopes = estimate(jax.random.fold_in(KEY, i), params, {"x": x})
        updates, inner = optimizer.update(slopes, inner, params)
        params = optax.apply_updates(params, updates)
    for name, value in params.items():
        np.testing.assert_allclose(found.params[name], value, rtol=1e-4, atol=1e-6)
    assert float(info.loss) == pytest.approx(float(loss), rel=1e-5)
    assert (info.visits, info.candidates) == (6, 0)
    assert info.image_evaluations == 6 * 2 * 2 * 5 and info.weight_updates == 6 * 4


def test_it_learns():
    everything = {"x": BATCHES["x"].reshape(-1, 3)}
    method = spsa_method(loss_fn, cosine_sgd(learning_rate=0.02, steps=90), eps=EPS, donate=True)
    state = method.init(KEY, PARAMS)
    for epoch in range(15):
        state, _ = step(method, jax.random.fold_in(KEY, epoch), state, BATCHES)
    assert loss_fn(method.params(state), everything) < 0.2 * loss_fn(PARAMS, everything)


def test_a_pair_whose_loss_is_not_finite_tells_nothing():
    def broken(params, batch):
        return jnp.where(params["w"][0] > 0.5, jnp.nan, loss_fn(params, batch))

    _, slopes = antithetic_slopes(broken, eps=EPS, pairs=4)(KEY, PARAMS, ONE)
    assert all((np.asarray(a) == 0).all() for a in jax.tree.leaves(slopes))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"eps": 0.0}, "eps is 0.0"),
        ({"eps": float("inf")}, "eps is inf"),
        ({"pairs": 0}, "pairs is 0"),
        ({"pairs": 1.5}, "pairs is 1.5"),
    ],
)
def test_settings_that_cannot_work(wrong, named):
    with pytest.raises(UserError, match=named):
        spsa_method(loss_fn, optax.sgd(0.1), **({"eps": EPS} | wrong))


def test_a_loss_that_is_no_function_is_refused():
    with pytest.raises(UserError, match="loss_fn"):
        spsa_method(None, optax.sgd(0.1), eps=EPS)
