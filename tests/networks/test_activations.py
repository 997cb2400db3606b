"""Activations with steps, and the straight-through estimators of gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rso_jax.errors import UserError
from rso_jax.networks import create
from rso_jax.networks.activations import activation_named, sign


def test_a_sign_passes_gradients_within_its_window():
    x = jnp.array([-2.0, -1.0, -0.3, 0.0, 0.3, 1.0, 2.0])
    np.testing.assert_array_equal(sign()(x), [-1, -1, -1, 1, 1, 1, 1])
    for window in (0.5, 1.0):
        slopes = jax.vmap(jax.grad(sign(window)))(x)
        np.testing.assert_array_equal(slopes, abs(x) <= window)
    assert sign()(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert sign(0.5) is sign(0.5)


@pytest.mark.parametrize("model", ["mlp", "paper-mnist", "paper-cifar10"])
def test_networks_of_signs_see_signs(model):
    shape = (32, 32, 3) if model == "paper-cifar10" else (28, 28, 1)
    network = create(model, shape, 10, activation="sign", heads=1)
    images = jax.random.normal(jax.random.key(0), (3, *shape))
    params = network.init(jax.random.key(1), images)
    first = next(iter(network.logits(params, images).values()))
    head = params[next(name for name in params if name.endswith("_head"))]["kernel"]
    # A head of the mean of signs: no logit is beyond the sum of its weights.
    assert (jnp.abs(first) <= jnp.abs(head).sum((0, *range(1, head.ndim - 1))) + 1e-5).all()


def test_what_there_is_not_is_refused():
    with pytest.raises(UserError, match="window is 0"):
        sign(0)
    with pytest.raises(UserError, match="of activation sign"):
        activation_named("relu", 1.0)
    with pytest.raises(UserError, match="activation is 'signs'"):
        create("mlp", (4,), 3, activation="signs")
    with pytest.raises(UserError, match="weights is 'ternery'"):
        create("mlp", (4,), 3, weights="ternery")
    with pytest.raises(UserError, match="published with relu"):
        create("evojax-mnist", (28, 28, 1), 10, activation="sign")
