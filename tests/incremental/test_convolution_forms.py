"""Convolutions in other forms: the same results for fewer operations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.extend.core import jaxpr_as_fun

from rso_jax.incremental import column_program, count_flops
from rso_jax.incremental.convolution_forms import with_fast_convolutions

LAYOUTS = {"NHWC": ("NHWC", "HWIO", "NHWC"), "NCHW": ("NCHW", "OIHW", "NCHW")}


@pytest.fixture(autouse=True)
def in_64_bits():
    with jax.enable_x64(True):
        yield


def convolve(x, kernel, layout="NHWC", padding="SAME", strides=(1, 1), dilation=(1, 1)):
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=LAYOUTS[layout],
    )


def pool(x, window, strides, layout="NHWC", padding="VALID"):
    places = {"NHWC": lambda size: (1, *size, 1), "NCHW": lambda size: (1, 1, *size)}[layout]
    return lax.reduce_window(x, 0.0, lax.add, places(window), places(strides), padding)


def arrays(layout, channels, seed):
    """An image and a kernel."""
    rng = np.random.default_rng(seed)
    x, kernel = rng.standard_normal((4, 9, 8, channels)), rng.standard_normal((3, 2, channels, 5))
    if layout == "NCHW":
        x, kernel = x.transpose(0, 3, 1, 2), kernel.transpose(3, 2, 0, 1)
    return jnp.asarray(x), jnp.asarray(kernel)


def fast(function, *given):
    """What the function gives in fast forms, and the operations of its products."""
    run = jaxpr_as_fun(with_fast_convolutions(jax.make_jaxpr(function)(*given)))
    return run(*given)[0], count_flops(run, *given)


@settings(max_examples=30)
@given(
    layout=st.sampled_from(sorted(LAYOUTS)),
    channels=st.integers(1, 12),
    padding=st.sampled_from(("SAME", "VALID", ((0, 2), (1, 0)))),
    strides=st.sampled_from(((1, 1), (2, 1))),
    dilation=st.sampled_from(((1, 1), (1, 2))),
    window=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    steps=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    bias=st.sampled_from((None, "channel", "broadcast", "pixel", "number")),
    edge=st.sampled_from(("VALID", "SAME")),
    seed=st.integers(0, 99),
)
def test_forms_give_what_the_function_gives(
    layout, channels, padding, strides, dilation, window, steps, bias, edge, seed
):
    x, kernel = arrays(layout, channels, seed)

    def function(x, kernel):
        z = convolve(x, kernel, layout, padding, strides, dilation)
        axis = layout.index("C")
        if bias == "channel":
            z = jnp.arange(5.0).reshape([5 if a == axis else 1 for a in range(4)]) + z
        elif bias == "broadcast":
            z = z + lax.broadcast_in_dim(jnp.arange(5.0), z.shape, [axis])
        elif bias == "pixel" and layout == "NHWC":
            z = z + jnp.arange(z.size // 20.0).reshape(1, *z.shape[1:3], 1)
        elif bias == "number":
            z = z + 0.7
        return pool(z, window, steps, layout, edge)

    found, flops = fast(function, x, kernel)
    np.testing.assert_allclose(found, function(x, kernel), rtol=1e-12, atol=1e-12)
    assert flops <= count_flops(function, x, kernel)


@pytest.mark.parametrize("bias", [None, "repeated", "broadcast"])
def test_a_pool_right_after_a_convolution_is_taken_into_the_kernel(bias):
    x, kernel = arrays("NHWC", 6, 0)

    def function(x, kernel, shift):
        z = convolve(x, kernel)
        if bias == "repeated":
            z = z + shift.reshape(1, 1, 1, 5)
        elif bias == "broadcast":
            z = lax.broadcast_in_dim(shift, z.shape, [3]) + z
        return pool(z, (2, 2), (2, 2))

    given_ = x, kernel, jnp.arange(5.0)
    found, flops = fast(function, *given_)
    np.testing.assert_allclose(found, function(*given_), rtol=1e-12, atol=1e-12)
    assert flops < 0.6 * count_flops(function, *given_)


@pytest.mark.parametrize(
    ("shape", "stretched"),
    [((4, 9, 8, 1), (4, 9, 8, 5)), ((1, 9, 8, 5), (4, 9, 8, 5)), ((4, 1, 1, 5), (4, 9, 8, 5))],
)
def test_a_convolution_may_be_stretched_by_what_is_added(shape, stretched):
    """By a bias that is larger than it along an axis of size 1."""
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((*shape[:3], 6)), rng.standard_normal((3, 2, 6, shape[3]))
    bias = jnp.asarray(rng.standard_normal(stretched[3:]))
    params = {
        "first": jnp.asarray(rng.standard_normal((1, 1, 6, 6))),
        "kernel": jnp.asarray(kernel),
        "out": jnp.ones((5,)),
    }
    batch = jnp.asarray(x)

    def loss_fn(params, x):
        x = jnp.tanh(convolve(x, params["first"]))
        z = convolve(x, params["kernel"]) + jnp.broadcast_to(bias, stretched)
        return jnp.mean(jnp.tanh(pool(z, (2, 2), (2, 2)) @ params["out"]))

    found, _ = fast(lambda x: loss_fn(params, x), batch)
    np.testing.assert_allclose(found, loss_fn(params, batch), rtol=1e-12)
    for leaf, name in enumerate(params):
        program = column_program(loss_fn, params, batch, leaf)
        view = program.view(params, batch, jnp.int32(0))
        weights = params[name][..., 0]
        loss = program.loss(view, weights, program.preactivation(view, weights))
        np.testing.assert_allclose(loss, loss_fn(params, batch), rtol=1e-12)


def test_a_large_pool_stays_behind_its_convolution():
    """Its kernel would be as large as the image."""
    x, kernel = arrays("NHWC", 6, 0)
    traced = jax.make_jaxpr(lambda x, kernel: pool(convolve(x, kernel), (9, 8), (9, 8)))(x, kernel)
    assert "reduce_window_sum" in str(with_fast_convolutions(traced))


@pytest.mark.parametrize(("image", "window"), [((2, 1), (5, 5)), ((0, 4), (2, 2))])
def test_a_convolution_without_results_has_none(image, window):
    x, kernel = jnp.ones((2, *image, 1)), jnp.ones((*window, 1, 2))

    def function(x, kernel):
        return convolve(x, kernel, padding="VALID")

    found, _ = fast(function, x, kernel)
    np.testing.assert_array_equal(found, function(x, kernel))


def test_a_convolution_that_others_read_is_not_made_twice():
    x, kernel = arrays("NHWC", 12, 0)

    def function(x, kernel):
        z = convolve(x, kernel)
        return pool(z, (2, 2), (2, 2)).sum() + jnp.tanh(z).sum()

    found, flops = fast(function, x, kernel)
    np.testing.assert_allclose(found, function(x, kernel), rtol=1e-12)
    assert flops == count_flops(function, x, kernel)


def test_narrow_types_are_rounded_as_they_were():
    x, kernel = (a.astype(jnp.bfloat16) for a in arrays("NHWC", 1, 0))

    def function(x, kernel):
        return pool(convolve(x, kernel), (2, 2), (2, 2))

    traced = jax.make_jaxpr(function)(x, kernel)
    assert "conv_general_dilated" in str(with_fast_convolutions(traced))


def test_an_image_is_kept_once_and_not_for_every_place_of_a_window():
    """Few channels are shifted products, whose shifts are cut where they are used."""
    x = jnp.asarray(np.random.default_rng(0).standard_normal((80, 12, 12, 1)), jnp.float32)
    params = {"kernel": jnp.ones((3, 3, 1, 4), jnp.float32), "out": jnp.ones((4,), jnp.float32)}

    def loss_fn(params, x):
        z = convolve(x, params["kernel"])
        return jnp.mean((jnp.tanh(z - z.mean((0, 1, 2))).mean((1, 2)) @ params["out"]) ** 2)

    twice = jax.ShapeDtypeStruct((160, *x.shape[1:]), x.dtype)
    for both in (None, (params, twice)):
        program = column_program(loss_fn, params, x, 0, twice=both)
        kept = sum(a.size for a in jax.tree.leaves(jax.eval_shape(program.prefix, params, x)))
        assert kept < 4.5 * x.size
