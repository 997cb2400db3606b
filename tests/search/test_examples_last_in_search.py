"""A search of many examples, held along the last axis, decides as by whole forward passes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rso_jax import rso, step

KEY = jax.random.key(2)
EXAMPLES = 70


def layers(params, x):
    """Logits of a head on bins of pixels, and of the last layer, after a batch norm."""
    z = jax.lax.conv_general_dilated(
        x, params["conv"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    z = jax.nn.relu((z - z.mean((0, 1, 2))) / jnp.sqrt(z.var((0, 1, 2)) + 1e-5))
    bins = np.kron(np.eye(2), np.full((2, 1), 0.5))
    shares = np.einsum("hi,wj->hwij", bins, bins).reshape(4, 4, 4)
    head = jnp.tensordot(z, jnp.einsum("hwb,cbk->hwck", shares, params["head"]), 3)
    return head, z.reshape(len(z), -1) @ params["last"]


def losses(params, batch):
    return tuple(jnp.mean((z - batch["y"]) ** 2) for z in layers(params, batch["x"]))


def of_one_size(params, batch):
    if len(batch["x"]) != EXAMPLES:
        raise ValueError("made for one size")
    return losses(params, batch)


def given():
    keys = jax.random.split(KEY, 5)
    shapes = {"conv": (3, 3, 1, 3), "head": (3, 4, 2), "last": (48, 2)}
    params = {
        name: jax.random.normal(key, shape, jnp.float64)
        for (name, shape), key in zip(shapes.items(), keys, strict=False)
    }
    x = jax.random.normal(keys[3], (2, EXAMPLES, 4, 4, 1), jnp.float64)
    return params, {"x": x, "y": jax.random.normal(keys[4], (2, EXAMPLES, 2), jnp.float64)}


@pytest.mark.parametrize("loss_fn", [losses, of_one_size])
def test_choices_are_those_of_whole_forward_passes(loss_fn):
    with jax.enable_x64(True):
        params, batches = given()
        found, expected = (
            step(search, KEY, search.init(KEY, params), batches)[1].stages
            for search in (rso(loss_fn), rso(loss_fn, evaluation="full"))
        )
    assert found.keys() == expected.keys() == params.keys()
    for path, sweep in found.items():
        np.testing.assert_array_equal(sweep.choices, expected[path].choices)
        np.testing.assert_allclose(sweep.losses, expected[path].losses, rtol=1e-12)
        assert sweep.choices.any()
