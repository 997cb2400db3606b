"""Descent along slopes, as a method and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rso_jax import step
from rso_jax.slopes import slopes_method, value_and_slopes

KEY = jax.random.key(2)
RNG = np.random.default_rng(1)
X = jnp.asarray(RNG.standard_normal((3, 24, 5)), jnp.float32)
PARAMS = {"w": jnp.asarray(RNG.standard_normal((5, 2)), jnp.float32), "count": jnp.arange(2)}


def losses(params, batch):
    return jnp.sum((jnp.tanh(batch @ params["w"]) - batch[:, :2]) ** 2, axis=1)


def test_a_cycle_is_a_step_of_optax_on_each_mini_batch():
    optimizer = optax.adam(0.05)
    method = slopes_method(losses, optimizer)
    state = method.init(KEY, PARAMS)
    found, info = step(method, KEY, state, X)

    estimate = jax.jit(value_and_slopes(losses))
    params, optimizer_state = {"w": PARAMS["w"]}, optimizer.init({"w": PARAMS["w"]})
    for i, batch in enumerate(X):
        _, slopes, _ = estimate(jax.random.fold_in(KEY, i), PARAMS | params, batch)
        updates, optimizer_state = optimizer.update({"w": slopes["w"]}, optimizer_state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(found.params["w"], params["w"], rtol=1e-6)
    np.testing.assert_array_equal(found.params["count"], PARAMS["count"])
    assert (info.visits, info.candidates, info.image_evaluations) == (3, 3 * 3, 3 * 3 * 24)
    assert info.weight_updates == 3 * 10


def test_descent_along_slopes_learns():
    method = slopes_method(losses, optax.sgd(0.05, momentum=0.9), donate=True)
    state = method.init(KEY, PARAMS)
    before = float(losses(PARAMS, X[0]).mean())
    for cycle in range(10):
        state, info = step(method, jax.random.fold_in(KEY, cycle), state, X)
    assert float(info.loss) < 0.5 * before
