"""Corners that compositions of common operations do not reach, each against the full loss."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from stages import check_stages, staged

from rso_jax.incremental import column_program, count_flops

W = jax.random.normal(jax.random.key(0), (4, 6))
X = jax.random.normal(jax.random.key(1), (3, 4))
KERNEL = jax.random.normal(jax.random.key(2), (3, 3, 6, 6))


def convolve(x, kernel, dtype=None):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=numbers, preferred_element_type=dtype
    )


def image(z):
    """[3, 6] as images [3, 4, 4, 6]."""
    return jnp.tanh(z[:, None, None] * jnp.linspace(0.5, 1, 16).reshape(4, 4, 1))


def pool(x, window, strides):
    return lax.reduce_window(x, 0.0, lax.add, window, strides, "VALID")


def quantised(z):
    levels = jnp.round(4 * image(z)).astype(jnp.int32)
    summed = convolve(levels, jnp.round(4 * KERNEL).astype(jnp.int32), jnp.int32)
    return (summed // 7).astype(z.dtype) + lax.div(summed, jnp.int32(3)).astype(z.dtype)


LOSSES = {
    "integer convolution, divided": quantised,
    "windows with a stride along channels": lambda z: pool(
        convolve(image(z), KERNEL.astype(z.dtype)), (1, 2, 2, 1), (1, 2, 2, 2)
    ),
    "roll along an axis of size 1, reshaped": lambda z: jnp.roll(z[None], 1, 0).reshape(9, 2),
    "joined with an empty array": lambda z: jnp.concatenate([z, z[:, :0]], 1).reshape(9, 2),
    "map that flips": lambda z: lax.map(lambda r: r[::-1], z),
    "map that splits an axis": lambda z: lax.map(lambda r: r.reshape(2, 3).T, z),
    "map that strides": lambda z: lax.map(lambda r: jnp.tanh(r[1::2]), z),
    "map in a map": lambda z: lax.map(lambda r: lax.map(jnp.sin, r[::-1]), z),
    "stacked and unstacked": lambda z: jnp.stack(jnp.unstack(jnp.stack([z, 2 * z], 1), axis=1), 2),
    "tiled": lambda z: jnp.tile(jnp.tanh(z), (2, 3)).reshape(6, 3, 6)[:, 1] ** 2,
    "an infinite factor of a convolution": lambda z: jnp.tanh(
        convolve(image(z), KERNEL.astype(z.dtype)) * jnp.where(z[0, 0] < 1e9, jnp.inf, 1)
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_corner_is_exact(name):
    with jax.enable_x64(True):
        weights = jnp.linspace(-1, 1, 4)
        w, x = W.astype(jnp.float64), X.astype(jnp.float64)

        def loss(w, x):
            made = LOSSES[name](x @ w)
            return jnp.mean(made * jnp.cos(jnp.arange(made.size)).reshape(made.shape))

        stages = jax.jit(partial(staged, column_program(loss, w, x, 0), loss, 0))
        for o in (0, 3, 5):
            check_stages(stages(w, x, o, weights, 2), name, rtol=1e-11)


def test_a_constant_loss_needs_no_weight():
    program = column_program(lambda w, x: 0.5, W, X, 0)
    view = program.view(W, X, 1)
    assert program.preactivation(view, W[:, 1]) == program.direction(view, 0) == ()
    assert program.loss(view, W[:, 1], ()) == 0.5


@pytest.mark.parametrize(
    "after",
    [
        lambda x: pool(x, (1, 3, 3, 1), (1, 1, 1, 1)),
        lambda x: pool(x, (1, 2, 2, 1), (1, 2, 2, 1)),
        lambda x: pool(x, (1, 2, 2, 1), (1, 2, 2, 1)).mean() + jnp.tanh(x),
    ],
    ids=["overlapping windows", "windows apart", "used twice"],
)
def test_putting_a_convolution_off_makes_no_candidate_dearer(after):
    def loss(w, x):
        dense = convolve(jnp.tanh(image(x @ w)).sum(-1, keepdims=True) + image(x @ w), KERNEL)
        return jnp.mean(after(convolve(jnp.tanh(dense), KERNEL)) ** 2)

    program = column_program(loss, W, X, 0)
    inside = jax.eval_shape(program.view, W, X, jnp.int32(0)), W[:, 0]
    z = jax.eval_shape(program.preactivation, *inside)
    assert count_flops(program.loss, *inside, z) <= count_flops(loss, W, X)
