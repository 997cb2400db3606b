"""What the axes of a parameter array are for, whichever way a framework stores it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from rso_jax.leaves.columns import Axes, as_stored, column_form, in_columns, outputs_last
from rso_jax.leaves.layout import axes_of

N = 6


def array(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def axes(function, leaf, *data):
    """Of a single array that ``function(leaf, *data)`` uses."""

    def loss(leaf, data):
        return jnp.sum(function(leaf, *data))

    (found,) = axes_of(loss, leaf, data)
    return found


def scanned(w, x):
    return lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0]


def scanned_in_turn(w, x):
    """By index, as in an unrolled loop or one of torch's."""
    return lax.fori_loop(0, w.shape[0], lambda i, x: jnp.tanh(x @ w[i]), x)


def convolved(numbers, groups=1):
    def function(w, x):
        return lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=groups
        )

    return function


def spectral_norm(w, x):
    u = jnp.ones(w.shape[1])
    for _ in range(2):
        v = w @ u
        u = w.T @ (v / jnp.linalg.norm(v))
    return x @ (w / jnp.linalg.norm(u))


def depth_to_space(w, x):
    """A kernel that is put together from the halves of another."""
    left, right = jnp.split(w, 2, axis=1)
    return x @ jnp.concatenate([right, left], axis=1)


def transposed_convolution(w, x):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_transpose(x, w, (2, 2), "SAME", dimension_numbers=numbers)


def recurrent(w, x):
    return lax.scan(lambda h, x: (jnp.tanh(h @ w.T + x), None), x[0], x)[0]


def branching(w, x):
    return lax.cond(x[0, 0] > 0, lambda w: x @ w.T, lambda w: x @ w.T, w)


def einsum(formula):
    return lambda w, x: jnp.einsum(formula, x, w)


@pytest.mark.parametrize(
    ("function", "leaf", "data", "roles", "fan_in"),
    [
        # Kernels as matrices.
        (lambda w, x: x @ w, (3, 4), (N, 3), "io", 3),
        (lambda w, x: x @ w.T, (4, 3), (N, 3), "oi", 3),
        (lambda w, x: jax.vmap(lambda x: w @ x)(x), (4, 3), (N, 3), "oi", 3),
        (lambda w, x: x @ w, (3, 3), (N, 3), "io", 3),
        (lambda w, x: x @ w.T, (3, 3), (N, 3), "oi", 3),
        (lambda w, x: x @ w.T, (1, 3), (N, 3), "oi", 3),
        (lambda w, x: x @ w, (3, 1), (N, 3), "io", 3),
        (lambda w, x: x @ w[0], (1, 3), (N, 3), "ii", 3),
        # Heads, einsum in any order, batched products.
        (einsum("nd,dhk->nhk"), (3, 2, 4), (N, 3), "ioo", 3),
        (einsum("nd,hkd->nhk"), (2, 4, 3), (N, 3), "ooi", 3),
        (einsum("nd,hkd->khn"), (2, 4, 3), (N, 3), "ooi", 3),
        (einsum("nhk,hkd->nd"), (2, 4, 3), (N, 2, 4), "iio", 8),
        (einsum("nhk,dhk->nd"), (3, 2, 4), (N, 2, 4), "oii", 8),
        (einsum("nhk,hkd->nhd"), (2, 4, 3), (N, 2, 4), "sio", 4),
        (lambda w, x: jax.vmap(jnp.matmul)(x, w), (5, 3, 4), (5, N, 3), "sio", 3),
        (lambda w, x: x @ w.reshape(3, 8), (3, 2, 4), (N, 3), "ioo", 3),
        (lambda w, x: x.reshape(N, 8) @ w.reshape(8, 3), (2, 4, 3), (N, 2, 4), "iio", 8),
        (lambda w, x: jnp.einsum("nd,dhk->nhk", x, w.reshape(3, 2, 4)), (3, 8), (N, 3), "io", 3),
        # In parts, and put together.
        (lambda w, x: x @ jnp.split(w, 3, axis=1)[1], (3, 6), (N, 3), "io", 3),
        (lambda w, x: x @ w[:, ::2] + x @ w[:, 1::2], (3, 6), (N, 3), "io", 3),
        (lambda w, x: x @ w[2:].T, (6, 3), (N, 3), "oi", 3),
        (depth_to_space, (3, 4), (N, 3), "io", 3),
        # Rescaled on the way.
        (lambda w, x: x @ jnp.sign(w.T).astype(x.dtype), (4, 3), (N, 3), "oi", 3),
        (lambda w, x: x @ ((w - w.mean(0)) / w.std(0)), (3, 4), (N, 3), "io", 3),
        (
            lambda w, x: jax.jit(jax.checkpoint(jnp.matmul))(x, jax.nn.relu(w)),
            (3, 4), (N, 3), "io", 3,
        ),
        (spectral_norm, (3, 4), (N, 3), "io", 3),
        (lambda w, x: x @ w + jnp.sum(w**2), (3, 4), (N, 3), "io", 3),
        (lambda w, x: jnp.sum(w**2) + x @ w.T, (4, 3), (N, 3), "oi", 3),
        # Convolutions: columns in the order of height, width, input, as of HWIO.
        (convolved(("NHWC", "HWIO", "NHWC")), (3, 2, 4, 5), (N, 7, 7, 4), "iiio", 24),
        (convolved(("NCHW", "OIHW", "NCHW")), (5, 4, 3, 2), (N, 4, 7, 7), "oiii", 24),
        (convolved(("NHWC", "HWIO", "NHWC"), 4), (3, 2, 1, 8), (N, 7, 7, 4), "iiio", 6),
        (convolved(("NCHW", "OIHW", "NCHW"), 2), (6, 2, 3, 2), (N, 4, 7, 7), "oiii", 12),
        (transposed_convolution, (3, 2, 4, 5), (N, 7, 7, 4), "iiio", 24),
        # Stacked.
        (scanned, (5, 3, 3), (N, 3), "sio", 3),
        (lambda w, x: scanned(jnp.swapaxes(w, 1, 2), x), (5, 3, 3), (N, 3), "soi", 3),
        (lambda w, x: scanned(jnp.moveaxis(w, 2, 0), x), (3, 3, 5), (N, 3), "ios", 3),
        (scanned_in_turn, (5, 3, 3), (N, 3), "sio", 3),
        (lambda w, x: x @ w[0] @ w[1], (2, 3, 3), (N, 3), "sio", 3),
        (lambda w, x: lax.scan(lambda x, b: (x + b, None), x, w)[0], (5, 3), (N, 3), "so", None),
        # In a loop that has it whole: a recurrent cell.
        (recurrent, (3, 3), (N, 3), "oi", 3),
        (branching, (3, 3), (N, 3), "oi", 3),
        # No data but points within the loss.
        (lambda w, x: jnp.tanh(jnp.ones((7, 3)) @ w.T).sum() + x, (4, 3), (N,), "oi", 3),
        # No product: a scale, positions, numbers.
        (lambda w, x: x * w, (3,), (N, 3), "o", None),
        (lambda w, x: x * w, (1, 1, 3), (N, 2, 3), "iio", None),
        (lambda w, x: x * w, (3, 1, 1), (N, 3, 2, 2), "oii", None),
        (lambda w, x: x + w, (2, 3), (N, 2, 3), "io", 2),
        (lambda w, x: x @ w, (3,), (N, 3), "o", None),
        (lambda w, x: x * w, (), (N, 3), "", None),
        # Inputs and outputs in one axis.
        (lambda w, x: x @ w.reshape(3, 4), (2, 6), (N, 3), "io", 2),
    ],
)  # fmt: skip
def test_axes_of_one_array(function, leaf, data, roles, fan_in):
    """Of each axis whether it is of inputs, of outputs or stacked."""
    found = axes(function, array(*leaf), array(*data))
    assert (letters(found), found.fan_in) == (roles, fan_in)


def letters(found):
    named = zip(("i", "o", "s"), (found.inputs, found.outputs, found.stacked), strict=True)
    of_axis = {axis: letter for letter, some in named for axis in some}
    return "".join(of_axis[axis] for axis in sorted(of_axis))


def test_columns_of_a_convolution_run_in_one_order_in_every_layout():
    """Height, width, input, as they lie in HWIO."""
    hwio, oihw = ("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW")
    assert axes(convolved(hwio), array(3, 2, 4, 5), array(N, 7, 7, 4)).inputs == (0, 1, 2)
    assert axes(convolved(oihw), array(5, 4, 3, 2), array(N, 4, 7, 7)).inputs == (2, 3, 1)


def test_rows_that_are_looked_up():
    tokens = array(N, 5, dtype=jnp.int32)
    assert axes(lambda w, t: w[t], array(8, 3), tokens) == Axes((0,), (1,), (), 8)
    assert axes(lambda w, t: w.T[t], array(3, 8), tokens) == Axes((1,), (0,), (), 8)
    assert axes(lambda w, t: jax.vmap(lambda t: w[t[0]])(t), array(8, 3), tokens).inputs == (0,)
    assert axes(lambda w, t: w[:, t[0, 0]], array(3, 8), tokens).inputs == (1,)
    assert axes(lambda w, t: w[jnp.arange(5)] + t[..., None], array(8, 3), tokens).fan_in == 8


def test_low_rank_kernels_have_their_rank_between():
    def loss(params, x):
        return jnp.sum(x @ (params["a"] @ params["b"])) + jnp.sum(x @ (params["c"] @ params["d"]).T)

    params = {"a": array(3, 2), "b": array(2, 4), "c": array(4, 2), "d": array(2, 3)}
    a, b, c, d = axes_of(loss, params, array(N, 3))
    assert a == Axes((0,), (1,), (), 3) and d == Axes((1,), (0,), (), 3)
    assert b == c._replace(inputs=b.inputs, outputs=b.outputs) == Axes((0,), (1,), (), 2)
    assert (c.inputs, c.outputs) == ((1,), (0,))


def by_name(loss, params, batch):
    paths = [path for path, _ in jax.tree.leaves_with_path(params)]
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path in paths]
    return dict(zip(names, axes_of(loss, params, batch), strict=True))


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        y = nn.MultiHeadDotProductAttention(num_heads=2, qkv_features=4)(nn.LayerNorm()(x))
        return x + nn.Dense(3)(nn.gelu(nn.Dense(5)(y))), None


class Stacked(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(7, 3)(tokens) + self.param("position", nn.initializers.zeros, (5, 3))
        layers = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=4)
        return nn.Dense(7)(layers()(x, None)[0].mean(1))


def test_a_transformer_stacked_by_linen():
    model, tokens = Stacked(), jnp.zeros((N, 5), int)
    params = jax.eval_shape(model.init, jax.random.key(0), tokens)["params"]

    def loss(params, tokens):
        return jnp.mean(model.apply({"params": params}, tokens) ** 2)

    found = by_name(loss, params, tokens)
    attention = "ScanBlock_0/MultiHeadDotProductAttention_0"
    for name in ("query", "key", "value"):
        assert found[f"{attention}/{name}/kernel"] == Axes((1,), (2, 3), (0,), 3)
        assert found[f"{attention}/{name}/bias"].stacked == (0,)
    assert found[f"{attention}/out/kernel"] == Axes((1, 2), (3,), (0,), 4)
    assert found["ScanBlock_0/Dense_0/kernel"] == Axes((1,), (2,), (0,), 5)
    assert found["ScanBlock_0/LayerNorm_0/scale"] == Axes((), (1,), (0,), None)
    assert found["Embed_0/embedding"] == Axes((0,), (1,), (), 7)
    assert found["position"] == Axes((0,), (1,), (), 5)
    assert found["Dense_0/kernel"] == Axes((0,), (1,), (), 3)


def test_modules_of_nnx_are_stored_inputs_first():
    rngs = nnx.Rngs(0)
    cell, conv = nnx.LSTMCell(3, 4, rngs=rngs), nnx.Conv(3, 4, (2, 2), rngs=rngs)
    model, params = nnx.split((cell, conv))

    def loss(params, batch):
        cell, conv = nnx.merge(model, params)
        carry = cell.initialize_carry((N, 3), nnx.Rngs(0))
        image = conv(jnp.ones((1, 5, 5, 3)) * batch.sum())
        return jnp.sum(cell(carry, batch)[1]) + jnp.sum(image)

    for name, found in by_name(loss, params, jnp.ones((N, 3))).items():
        if "kernel" in name:
            assert found.outputs == (max((*found.inputs, *found.outputs)),), name


@given(st.data())
def test_column_form_and_back(data):
    shape = data.draw(st.lists(st.integers(1, 3), max_size=4))
    order = data.draw(st.permutations(range(len(shape))))
    cut = sorted(data.draw(st.tuples(*[st.integers(0, len(shape))] * 2)))
    inputs, outputs, stacked = order[: cut[0]], order[cut[0] : cut[1]], order[cut[1] :]
    leaf_axes = Axes(tuple(inputs), tuple(outputs), tuple(stacked), None)
    stored = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    columns = in_columns(jnp.asarray(stored), leaf_axes)
    assert columns.shape == column_form(stored.shape, leaf_axes)
    np.testing.assert_array_equal(as_stored(columns, leaf_axes, stored.shape), stored)
    for index in np.ndindex(*stored.shape) if shape else ():
        column = 0
        for axis in (*stacked, *outputs):
            column = column * shape[axis] + index[axis]
        place = *(index[axis] for axis in inputs), column
        assert columns[place if columns.ndim == len(place) else index] == stored[index]


def test_outputs_last_is_the_array_itself():
    for shape in ((), (3,), (2, 3), (2, 3, 4, 5)):
        stored = jnp.zeros(shape)
        assert in_columns(stored, outputs_last(shape)) is stored
        assert column_form(shape, outputs_last(shape)) == shape
