"""Weights on a grid: what is nearest, and steps that end there."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rso_jax.baselines import gradient_method
from rso_jax.method import step
from rso_jax.networks import cross_entropy, loss_of
from rso_jax.networks.grids import put_on_grid, scale_of, stay_on_grid
from rso_jax.networks.models import GRIDS, create
from rso_jax.slopes import slopes_method

KEY = jax.random.key(0)
SHAPE = (6, 4)
kernels = arrays(np.float32, SHAPE, elements=st.floats(-3, 3, width=32))


def values_of(grid):
    """What a kernel of that shape can hold."""
    scale = scale_of(np.zeros(SHAPE))
    if grid == "int8":
        return np.arange(-127, 128) * 2.0**-6
    return np.array([-scale, scale] if grid == "binary" else [-scale, 0, scale])


@given(kernels, st.sampled_from(sorted(GRIDS)))
def test_the_nearest_value_is_taken(kernel, grid):
    found = np.asarray(put_on_grid(GRIDS[grid], jnp.asarray(kernel)))
    distances = np.abs(kernel[..., None] - values_of(grid).astype(np.float32))
    np.testing.assert_allclose(np.abs(kernel - found), distances.min(-1), atol=1e-6)
    np.testing.assert_array_equal(put_on_grid(GRIDS[grid], jnp.asarray(found)), found)


def test_scales_and_biases_stay_real_numbers_but_of_int8():
    params = {"scale": jnp.array([0.3, 0.71]), "n": jnp.arange(3)}
    for grid in ("binary", "ternary"):
        for name, array in put_on_grid(GRIDS[grid], params).items():
            np.testing.assert_array_equal(array, params[name])
    assert float(put_on_grid(GRIDS["int8"], params)["scale"][0] * 2**8) == 77


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_types_and_kernels_of_images_keep_type_and_shape(dtype):
    kernel = jax.random.normal(KEY, (3, 3, 2, 4)).astype(dtype)
    for name, values in (("binary", 2), ("ternary", 3)):
        found = put_on_grid(GRIDS[name], {"kernel": kernel})["kernel"]
        assert found.dtype == dtype and found.shape == kernel.shape
        assert len(np.unique(found.astype(np.float32))) == values


def small_problem(weights, norm="none"):
    network = create("mlp", (6,), 3, (8,), norm, weights=weights)
    x = jax.random.normal(KEY, (2, 40, 6))
    batches = {"image": x, "label": (x[..., 0] > 0) + (x[..., 1] > 0).astype(int)}
    return network, network.init(KEY, x[0, :1]), batches


METHODS = {
    "gradient": lambda loss, steps: gradient_method(loss(cross_entropy), steps),
    "slopes": lambda loss, steps: slopes_method(
        loss(lambda *logits: cross_entropy(*logits, reduction="none")), steps
    ),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("grid", GRIDS)
def test_whatever_steps_it_the_network_stays_on_the_grid_and_learns(grid, method):
    # Without biases, and with scales and statistics of the mini-batch, as well.
    network, params, batches = small_problem(grid, "batch" if method == "gradient" else "none")
    steps = stay_on_grid(optax.adam(0.1), GRIDS[grid])
    trainer = METHODS[method](lambda loss: loss_of(network, loss), steps)
    state = trainer.init(KEY, params)
    losses = []
    for cycle in range(20):
        state, info = step(trainer, jax.random.fold_in(KEY, cycle), state, batches)
        now = trainer.params(state)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
            now,
            put_on_grid(GRIDS[grid], now),
        )
        losses.append(float(info.loss))
    assert losses[-1] < 0.7 * losses[0]
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), params, now)
    assert all(jax.tree.leaves(moved))


def test_real_numbers_follow_their_optimiser_until_the_reach():
    params = put_on_grid(GRIDS["ternary"], {"kernel": jnp.ones((8, 2)), "bias": jnp.zeros(2)})
    steps = stay_on_grid(optax.sgd(1.0), GRIDS["ternary"])
    state, scale = steps.init(params), scale_of(params["kernel"])
    slopes = {"kernel": jnp.full((8, 2), 0.3 * scale), "bias": jnp.full(2, 0.1)}
    seen = []
    for _ in range(12):
        updates, state = steps.update(slopes, state, params)
        params = optax.apply_updates(params, updates)
        seen.append(float(params["kernel"][0, 0] / scale))
    np.testing.assert_allclose(seen, [1, 0, 0, 0, *[-1] * 8], atol=1e-6)
    np.testing.assert_allclose(state.real["kernel"], -1.5 * scale, rtol=1e-6)
    np.testing.assert_allclose(params["bias"], -1.2, rtol=1e-5)


def test_a_network_on_a_grid_begins_and_is_evaluated_there():
    network, params, batches = small_problem("binary")
    assert len(np.unique(params["hidden1"]["kernel"])) == 2
    moved = jax.tree.map(lambda a: a * 0.9, params) | {"output": params["output"]}
    moved["hidden1"]["bias"] = params["hidden1"]["bias"]
    there, close = (network.evaluate(p, {}, batches["image"][0]) for p in (params, moved))
    np.testing.assert_array_equal(there, close)
