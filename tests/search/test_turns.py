"""Pre-activations that are brought up to date when their mini-batch has its turn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from searching import sweep

from rso_jax import rso
from rso_jax.search.plan import MOST_UPDATES_CARRIED

KEY = jax.random.key(5)
CHANNELS, EXAMPLES = 3, 64  # from 64 examples on, they lie last on a CPU


def convolved(params, batch):
    """A convolution, its mean over pixels, logits of a dense layer without a bias."""
    dimensions = jax.lax.conv_dimension_numbers((1, 6, 6, CHANNELS), (3, 3, 1, 1), DIMENSIONS)
    x = jax.lax.conv_general_dilated(
        batch["x"], params["window"], (1, 1), "SAME", dimension_numbers=dimensions
    )
    logits = jax.nn.relu(x).mean((1, 2)) @ params["dense"]
    return -jax.nn.log_softmax(logits)[jnp.arange(len(logits)), batch["y"]].mean()


DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def problem(minibatches, width):
    """Weights, and a stack of mini-batches of noise with labels."""
    drawn = np.random.default_rng(minibatches)
    params = {
        "window": jnp.asarray(drawn.normal(size=(3, 3, CHANNELS, width)), jnp.float32),
        "dense": jnp.asarray(drawn.normal(size=(width, 4)), jnp.float32),
    }
    x = drawn.normal(size=(minibatches, EXAMPLES, 6, 6, CHANNELS)).astype(np.float32)
    return params, {"x": x, "y": drawn.integers(0, 4, (minibatches, EXAMPLES))}


@pytest.mark.parametrize("minibatches", [1, 2, 5, 8, 11])
def test_a_sweep_decides_as_by_whole_forward_passes(minibatches):
    params, batches = problem(minibatches, 2)
    found = {}
    for evaluation in ("column", "full"):
        search = rso(convolved, evaluation=evaluation)
        state = search.init(KEY, params)
        found[evaluation] = sweep(search, KEY, state, "window", batches)[1]
    np.testing.assert_array_equal(found["column"].choices, found["full"].choices)
    np.testing.assert_allclose(found["column"].losses, found["full"].losses, rtol=1e-5)
    assert len(np.unique(found["column"].choices)) > 1


def test_a_column_of_several_segments_decides_as_by_whole_forward_passes():
    drawn = np.random.default_rng(0)
    height = MOST_UPDATES_CARRIED + 4
    params = {"dense": jnp.asarray(drawn.normal(size=(height, 2)), jnp.float32)}
    x = drawn.normal(size=(3, EXAMPLES, height)).astype(np.float32)
    batches = {"x": x, "y": drawn.normal(size=(3, EXAMPLES, 2)).astype(np.float32)}

    def squared(params, batch):
        return jnp.mean((jnp.tanh(batch["x"] @ params["dense"]) - batch["y"]) ** 2)

    found = {}
    for evaluation in ("column", "full"):
        search = rso(squared, evaluation=evaluation)
        found[evaluation] = sweep(search, KEY, search.init(KEY, params), "dense", batches)[1]
    np.testing.assert_array_equal(found["column"].choices, found["full"].choices)
    np.testing.assert_allclose(found["column"].losses, found["full"].losses, rtol=1e-4)
