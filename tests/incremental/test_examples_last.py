"""A column program with examples last gives the losses of one that leaves them where they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from rso_jax.incremental import ColumnView, column_program

RNG = np.random.default_rng(0)
N = 24


def normal(*shape):
    return jnp.asarray(RNG.standard_normal(shape), jnp.float32)


BATCH = {"x": normal(N, 6, 6, 2), "y": jnp.asarray(RNG.integers(0, 3, N))}


def convolve(x, kernel):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def pool(x, join=lax.max, start=-jnp.inf, window=(1, 2, 2, 1), strides=(1, 2, 2, 1)):
    return lax.reduce_window(x, start, join, window, strides, "VALID")


def entropy(logits, batch):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), batch["y"][:, None], 1)[:, 0]


def convolutional(params, batch):
    x = pool(jax.nn.relu(convolve(batch["x"], params["first"]) + params["shift"]))
    x = jnp.tanh(convolve(x, params["second"]))
    return entropy(x.reshape(len(x), -1) @ params["dense"], batch)


def normalised(params, batch):
    """By the mini-batch, with windows that overlap and an image turned around."""
    x = convolve(batch["x"], params["first"])
    x = (x - x.mean((0, 1, 2))) * lax.rsqrt(x.var((0, 1, 2)) + 1e-3)
    x = pool(-x, lax.min, jnp.inf, (1, 3, 3, 1), (1, 1, 1, 1))
    x = jnp.cumsum(jnp.pad(x, ((0, 0), (1, 0), (0, 1), (0, 0)))[:, ::-1], 2)
    x = jnp.concatenate([x, x[:, :2] * 2], 1).transpose(0, 3, 1, 2)
    return entropy(jnp.einsum("nchw,co->no", x, params["second"][0, 0]), batch)


def perceptron(params, batch):
    x = batch["x"].reshape(N * len(batch["x"]) // N, -1)
    h = jnp.tanh(x @ params["dense"]).T
    return entropy((params["out"].T @ jnp.sin(h)).T, batch)


def merged(params, batch):
    """Examples and positions in one axis, and apart again, as of `reshape(-1, width)`."""
    h = batch["x"].reshape(-1, 12, 6) @ params["dense"]
    h = jnp.sin(jnp.tanh(h).reshape(-1, 5) @ params["out"]).reshape(-1, 12, 3)
    return -jax.nn.log_softmax(h).sum((1, 2)) * batch["y"]


MODELS = {
    "convolutional": (
        convolutional,
        {
            "first": normal(3, 3, 2, 4),
            "shift": normal(4),
            "second": normal(3, 3, 4, 2),
            "dense": normal(18, 3),
        },
    ),
    "normalised": (normalised, {"first": normal(3, 3, 2, 4), "second": normal(1, 1, 4, 3)}),
    "merged": (merged, {"dense": normal(6, 5), "out": normal(5, 3)}),
    "perceptron": (perceptron, {"dense": normal(72, 5), "out": normal(5, 3)}),
}


@pytest.mark.parametrize("to_products", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_losses_are_the_same(model, to_products):
    loss, params = MODELS[model]
    twice = jax.tree.map(lambda a: jax.ShapeDtypeStruct((2 * N, *a.shape[1:]), a.dtype), BATCH)
    arrays = jax.tree.leaves(params)
    for leaf, array in enumerate(arrays):
        programs = [
            column_program(
                loss, params, BATCH, leaf, from_incumbent=True, to_products=to_products, **way
            )
            for way in ({}, {"twice": (params, twice)})
        ]
        assert programs[1].examples_last and not programs[0].examples_last
        changed = jnp.asarray(RNG.standard_normal(array.shape[:-1]), jnp.float32)

        def evaluate(program, changed=changed):
            view: ColumnView = program.view(params, BATCH, jnp.int32(1))
            z = program.preactivation(view, changed)
            return z, program.loss(view, changed, z), program.direction(view, jnp.int32(0))

        (plain, losses, along), (last, same, along_last) = map(evaluate, programs)
        np.testing.assert_allclose(same, losses, rtol=1e-4, atol=1e-5)
        for one, other in zip((*plain, *along), (*last, *along_last), strict=True):
            axes = [axis for axis, n in enumerate(one.shape) if n in (N, 12 * N)]
            moved = jnp.moveaxis(one, axes[0], -1) if axes else one
            np.testing.assert_allclose(other, moved, rtol=1e-4, atol=1e-5)
