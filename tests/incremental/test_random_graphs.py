"""Column programs of generated losses: random compositions of the operations rules speak of."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax import lax

from rso_jax.incremental import column_program

KEY = jax.random.key(0)
SHAPE = (2, 4, 4, 4)  # all values have this shape, so that any two can be combined


def convolve(x, kernel, **how):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), **how
    )


def pool(x, reduce, start, window):
    return lax.reduce_window(x, start, reduce, window, (1, 1, 1, 1), "SAME")


UNARY = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "square": lambda x: jnp.square(x) / 4,
    "softmax": lambda x: jax.nn.softmax(x, -1),
    "softmax other": lambda x: jax.nn.softmax(x, 1),
    "norm batch": lambda x: (x - x.mean((0, 1, 2))) / jnp.sqrt(x.var((0, 1, 2)) + 0.1),
    "norm layer": lambda x: (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1)[..., None] + 0.1),
    "max": lambda x: x - x.max(3, keepdims=True),
    "min": lambda x: x - x.min((1, 3), keepdims=True),
    "sum": lambda x: jnp.broadcast_to(x.sum((2, 3))[:, :, None, None], SHAPE) / 8,
    "prod": lambda x: x + jnp.prod(x / 2, 2, keepdims=True),
    "argmax": lambda x: x + jax.nn.one_hot(x.argmax(3), 4),
    "transpose": lambda x: x.transpose(0, 2, 3, 1),
    "swap": lambda x: jnp.swapaxes(x, 1, 2),
    "reverse": lambda x: x[..., ::-1],
    "roll": lambda x: jnp.roll(x, 1, 3),
    "sort": lambda x: jnp.sort(x, 2),
    "cumsum": lambda x: jnp.cumsum(x, 3) / 4,
    "reshape": lambda x: jnp.tanh(x.reshape(2, 16, 4)).reshape(SHAPE),
    "mix": lambda x: jnp.tanh(x.reshape(2, 4, 16) / 2).reshape(2, 16, 4).reshape(SHAPE),
    "squeeze": lambda x: jnp.squeeze(x[:, None], 1),
    "channel": lambda x: jnp.broadcast_to(x[..., 1:2], SHAPE),
    "concatenate": lambda x: jnp.concatenate([x[..., 2:], x[..., :2]], -1),
    "average": lambda x: pool(x, lax.add, 0.0, (1, 2, 2, 1)) / 4,
    "largest": lambda x: pool(x, lax.max, -jnp.inf, (1, 2, 1, 1)),
    "across": lambda x: pool(x, lax.add, 0.0, (1, 1, 1, 2)) / 2,
    "gram": lambda x: x @ jnp.swapaxes(x, 2, 3) / 4,
    "select": lambda x: jnp.where(x > 0, x, 0.1 * x),
    "clip": lambda x: jnp.clip(x, -0.7, 0.7),
    "jit": jax.jit(jnp.sin),
    "remat": jax.checkpoint(lambda x: jnp.exp(-jnp.square(x))),
    "scan": lambda x: lax.scan(lambda c, r: (c / 2 + r, jnp.tanh(c)), x[0], x)[1],
}
BINARY = {
    "add": jnp.add,
    "multiply": lambda a, b: a * jnp.tanh(b),
    "divide": lambda a, b: a / (1 + b * b),
    "maximum": jnp.maximum,
    "where": lambda a, b: jnp.where(a > b, a, b / 2),
    "matmul": lambda a, b: a @ b / 4,
    "contract": lambda a, b: jnp.einsum("nhwc,nhwd->nhcd", a, b) / 4,
    "outer": lambda a, b: a + jnp.mean(b, (1, 2))[:, None, None, :],
}
LEAF = {
    "dense": lambda x, w: x @ w[0, 0],
    "dense transposed": lambda x, w: x @ w[0, 1].T,
    "convolution": lambda x, w: convolve(x, w),
    "depthwise": lambda x, w: convolve(x, w[:, :, :1], feature_group_count=4),
    "grouped": lambda x, w: convolve(x, w[:, :, :2], feature_group_count=2),
    "dilated": lambda x, w: convolve(x, w, rhs_dilation=(2, 1)),
    "scale": lambda x, w: x * w[1, 1, 0],
    "shift": lambda x, w: x + w[0, 1, 2],
    "as a value": lambda x, w: x + w[None, 0, :, :, :].repeat(2, 1)[:, :4],
}
CONSTANTS = [jax.random.normal(jax.random.fold_in(KEY, i), (2, 2, 4, 4)) / 3 for i in range(3)]


def build(steps):
    """A loss from a list of (kind, name, i, j): operations on the values made so far."""

    def loss(w, x):
        values = [x, w[0, :1, None].repeat(2, 0).repeat(4, 1) * 1.0]
        for kind, name, i, j in steps:
            a, b = values[i % len(values)], values[j % len(values)]
            if kind == "unary":
                made = UNARY[name](a)
            elif kind == "binary":
                made = BINARY[name](a, b)
            else:
                made = LEAF[name](a, w if j % 3 else CONSTANTS[j % len(CONSTANTS)].astype(w.dtype))
            values.append(made)
        return sum(jnp.mean(v * (k + 1)) for k, v in enumerate(values[1:]))

    return loss


def steps_of(kind, names):
    return st.tuples(
        st.just(kind), st.sampled_from(sorted(names)), st.integers(0, 9), st.integers(0, 9)
    )


STEPS = st.lists(
    st.one_of(steps_of("unary", UNARY), steps_of("binary", BINARY), steps_of("leaf", LEAF)),
    min_size=2,
    max_size=7,
)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(STEPS, st.integers(0, 3), st.integers(0, 10))
def test_a_generated_loss_is_evaluated_exactly(steps, o, seed):
    loss = build(steps)
    w_key, x_key, new_key = jax.random.split(jax.random.key(seed), 3)
    with jax.enable_x64(True):  # so that rounding cannot hide a wrong term
        w = jax.random.normal(w_key, (2, 2, 4, 4), jnp.float64) / 2
        x = jax.random.normal(x_key, SHAPE, jnp.float64)
        weights = jax.random.normal(new_key, (2, 2, 4), jnp.float64)
        program = column_program(loss, w, x, 0)
        forgotten = w.at[..., o].set(jnp.nan)
        prefix = program.prefix(jnp.full_like(w, jnp.nan), x)
        column = program.column(forgotten, x, prefix, o)
        inside = (forgotten, x, prefix, column, o, weights)
        got = program.loss(*inside, program.preactivation(*inside))
        expected = loss(w.at[..., o].set(weights), x)
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
