"""Products of bfloat16 operands added up in float32, alone and in column programs."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from rso_jax import rso, step
from rso_jax.incremental import bfloat16_products, column_program, count_flops
from rso_jax.networks import cross_entropy, linen_network, loss_of
from rso_jax.networks.layers import Convolution, Dense
from rso_jax.trees import named_leaves

KEY = jax.random.key(0)
LAYOUT = ("NHWC", "HWIO", "NHWC")
A = jax.random.normal(KEY, (7, 12))
B = jax.random.normal(jax.random.key(1), (12, 12))


def rounded(a):
    """Values of bfloat16 in float64 arithmetic."""
    return np.asarray(jnp.asarray(a).astype(jnp.bfloat16).astype(jnp.float32), np.float64)


def is_rounded(got, exact, reference):
    np.testing.assert_allclose(got, reference, rtol=1e-5, atol=1e-5)
    assert np.abs(np.asarray(got) - np.asarray(exact)).max() > 1e-3


def test_a_product_is_that_of_rounded_operands():
    got = jax.jit(bfloat16_products(lambda p, x: x @ p["w"]))({"w": B}, A)
    assert got.dtype == jnp.float32
    is_rounded(got, A @ B, rounded(A) @ rounded(B))


def test_a_convolution_is_that_of_rounded_operands():
    def convolve(kernel, image):
        return lax.conv_general_dilated(
            image, kernel, (2, 1), "SAME", dimension_numbers=LAYOUT, feature_group_count=2
        )

    kernel, image = B[:6, :6].reshape(3, 3, 2, 2), A[:4].reshape(1, 4, 3, 4)
    got = jax.jit(bfloat16_products(convolve))(kernel, image)
    assert got.dtype == jnp.float32
    reference = convolve(*(jnp.asarray(rounded(a), jnp.float32) for a in (kernel, image)))
    is_rounded(got, convolve(kernel, image), reference)


def test_products_are_added_up_in_float32():
    # In bfloat16 the sum would stop at 256, where adding 1 is below its resolution.
    ones = jnp.ones((1, 3001))
    dot = bfloat16_products(lambda a, b: a @ b)
    convolve = bfloat16_products(
        lambda a, b: lax.conv(a[..., None, None], b[..., None, None], (1, 1), "VALID")
    )
    assert float(dot(ones, ones.T)[0, 0]) == 3001
    assert float(convolve(ones, ones).ravel()[0]) == 3001


def test_a_product_of_another_precision_is_rounded_too():
    def precise(a, b):
        return jnp.dot(a, b, precision="highest")

    is_rounded(bfloat16_products(precise)(A, B), A @ B, rounded(A) @ rounded(B))


@jax.custom_jvp
def custom(a, b):
    return a @ b


custom.defjvp(lambda primals, tangents: (custom(*primals), tangents[0] @ primals[1]))


@jax.custom_vjp
def custom_reverse(a, b):
    return a @ b


custom_reverse.defvjp(lambda a, b: (a @ b, b), lambda b, g: (g @ b.T, None))

NESTED = {
    "jit": jax.jit(lambda a, b: jax.jit(jnp.matmul)(a, b)),
    "checkpoint": jax.checkpoint(jnp.matmul),
    "custom_jvp": custom,
    "custom_vjp": custom_reverse,
    "scan": lambda a, b: lax.scan(lambda carry, row: (carry, row @ b), 0, a)[1],
    "while": lambda a, b: lax.while_loop(
        lambda v: v[0] < 1, lambda v: (v[0] + 1, v[1] @ b), (0, a)
    )[1],
    "cond": lambda a, b: lax.cond(a.sum() > 1e6, lambda: a, lambda: jax.jit(jnp.matmul)(a, b)),
    "map of jit": lambda a, b: lax.map(jax.jit(lambda row: jax.nn.relu(row @ b) + row @ b), a) / 2,
}


@pytest.mark.parametrize("case", NESTED)
def test_products_inside_other_functions(case):
    got = jax.jit(bfloat16_products(NESTED[case]))(A, B)
    reference = rounded(A) @ rounded(B)
    if case == "map of jit":
        reference = np.maximum(reference, 0) / 2 + reference / 2
    is_rounded(got, NESTED[case](A, B), reference)


def test_gradients_given_by_hand_stay():
    grad = jax.grad(lambda a: bfloat16_products(custom_reverse)(a, B).sum())(A)
    np.testing.assert_allclose(grad, jnp.ones((7, 12)) @ B.T, rtol=1e-5)


def test_other_types_are_left_alone():
    def products(a, b):
        return a @ b, jnp.ones((2, 3), jnp.int8) @ jnp.full((3, 2), 127, jnp.int8)

    with jax.enable_x64(True):
        wide = [jnp.asarray(a, jnp.float64) for a in (A, B)]
        for got, expected in zip(bfloat16_products(products)(*wide), products(*wide), strict=True):
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected)
    narrow = [a.astype(jnp.bfloat16) for a in (A, B)]
    assert bfloat16_products(jnp.matmul)(*narrow).dtype == jnp.bfloat16


def test_what_is_no_product_is_not_rounded():
    def elementwise(p, x):
        return {"loss": jnp.var(jax.nn.softmax(x * p)), "more": [x.sum(), x]}

    got, expected = bfloat16_products(elementwise)(3.1, A), elementwise(3.1, A)
    jax.tree.map(np.testing.assert_array_equal, got, expected)


class Small(nn.Module):
    """Two convolutions, the second pooled, and a dense layer; batch norm after each."""

    @nn.compact
    def __call__(self, x, train=True):
        x = nn.relu(Convolution(4, name="conv1")(x, train=train))
        x = nn.relu(Convolution(6, pool=True, name="conv2")(x, train=train))
        return Dense(10, name="output")(x.reshape(x.shape[0], -1), train=train)


IMAGES = jax.random.normal(KEY, (40, 8, 8, 2))
BATCH = {"image": IMAGES, "label": jnp.arange(40) % 10}
NETWORK = linen_network(Small())
PARAMS, LOSS = jax.jit(NETWORK.init)(KEY, IMAGES), loss_of(NETWORK)
ROUNDED_LOSS = bfloat16_products(LOSS)
FORWARD = jax.jit(ROUNDED_LOSS)
COLUMN = 2


def with_column(path, weights):
    """The parameters with other weights in column ``COLUMN`` of one array."""
    leaves, treedef = jax.tree.flatten(PARAMS)
    i = list(named_leaves(PARAMS)).index(path)
    leaves[i] = leaves[i].at[..., COLUMN].set(weights)
    return jax.tree.unflatten(treedef, leaves)


def position(path):
    return list(named_leaves(PARAMS)).index(path)


def weight_of(path):
    """The weights of the column, and which of them is changed: the largest."""
    weights = jax.tree.leaves(PARAMS)[position(path)][..., COLUMN]
    return weights, int(jnp.abs(weights).argmax())


def candidate(loss, path):
    """``step -> (loss, weights, z, direction)`` of a candidate with one weight changed."""
    program = column_program(loss, PARAMS, BATCH, position(path))
    weights, k = weight_of(path)

    @jax.jit
    def of_step(step, o):
        view = program.view(PARAMS, BATCH, o)
        direction = program.direction(view, k)
        z = program.preactivation(view, weights)
        z = [a + step * b for a, b in zip(z, direction, strict=True)]
        moved = weights.ravel().at[k].add(step).reshape(weights.shape)
        return program.loss(view, moved, z), moved, z, direction

    return lambda step: of_step(step, jnp.asarray(COLUMN))


def flops(loss, path):
    """Of a candidate."""
    program, o = column_program(loss, PARAMS, BATCH, position(path)), jnp.asarray(COLUMN)
    inside = (jax.eval_shape(program.view, PARAMS, BATCH, o), weight_of(path)[0])
    return count_flops(program.loss, *inside, jax.eval_shape(program.preactivation, *inside))


@pytest.mark.parametrize("path", named_leaves(PARAMS))
def test_a_candidate_costs_no_more_than_in_float32(path):
    assert flops(ROUNDED_LOSS, path) == flops(LOSS, path)


@pytest.mark.parametrize("path", ["conv1/kernel", "conv1/scale", "conv2/kernel", "output/kernel"])
def test_a_candidate_has_the_loss_of_a_forward_pass(path):
    value, moved, z, direction = candidate(ROUNDED_LOSS, path)(0.3)
    assert all(a.dtype == jnp.float32 for a in (*z, *direction))
    assert bool(z) == path.endswith("kernel")
    np.testing.assert_allclose(value, FORWARD(with_column(path, moved), BATCH), rtol=2e-3)


@pytest.mark.parametrize("path", ["conv1/kernel", "output/kernel"])
def test_activations_are_kept_in_bfloat16(path):
    program = column_program(ROUNDED_LOSS, PARAMS, BATCH, position(path))
    prefix = jax.eval_shape(program.prefix, PARAMS, BATCH)
    assert {a.dtype for a in prefix if a.size >= IMAGES.size / 2} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("path", ["conv2/kernel", "output/kernel"])
def test_a_change_below_the_resolution_of_bfloat16_is_not_rounded_away(path):
    weights, k = weight_of(path)
    weight = weights.ravel()[k]
    step = 1e-4 * weight
    assert (weight + step).astype(jnp.bfloat16) == weight.astype(jnp.bfloat16)
    # In a full forward pass nothing is left of the change.
    changed = with_column(path, weights.ravel().at[k].add(step).reshape(weights.shape))
    assert FORWARD(changed, BATCH) == FORWARD(PARAMS, BATCH)
    with jax.enable_x64(True):
        precise = loss_of(NETWORK, partial(cross_entropy, reduction="sum", precision="float64"))
        at = candidate(bfloat16_products(precise), path)
        before, _, z, _ = at(0.0)
        after, _, z_after, direction = at(step)
        for a, b, d in zip(z, z_after, direction, strict=True):
            np.testing.assert_allclose(b - a, step * d, atol=1e-6)
        assert after != before
        if path == "output/kernel":  # no activations are rounded after it
            exact = jax.jit(precise)
            expected = exact(changed, BATCH) - exact(PARAMS, BATCH)
            np.testing.assert_allclose(after - before, expected, rtol=0.1)


def test_weights_rounded_by_the_loss_itself_are_rounded_in_every_candidate():
    def coarse(p, x):
        return jnp.mean(jnp.tanh(x @ p.astype(jnp.bfloat16).astype(jnp.float32)))

    program = column_program(coarse, B, A, 0)
    view = program.view(B, A, jnp.asarray(COLUMN))
    moved = B[:, COLUMN] * (1 + 1e-4)
    z = program.preactivation(view, B[:, COLUMN])
    z = [a + 1e-4 * B[0, COLUMN] * b for a, b in zip(z, program.direction(view, 0), strict=True)]
    expected = coarse(B.at[:, COLUMN].set(moved), A)
    np.testing.assert_allclose(program.loss(view, moved, z), expected, rtol=1e-6)


def test_a_search_takes_it():
    search = rso(bfloat16_products(lambda p, x: jnp.mean((jnp.tanh(x @ p["w"]) - 1) ** 2)))
    params = {"w": B[:, :2]}
    state, info = step(search, KEY, search.init(KEY, params), A[None])
    first = jnp.mean((jnp.tanh(A @ params["w"]) - 1) ** 2)
    assert state.params["w"].dtype == jnp.float32
    assert info.loss < 0.9 * first
