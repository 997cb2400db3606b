"""Operations that random losses are made of: on values, on pairs of them, with a leaf.

All values have one shape, so that any two can be combined. What is discontinuous (a mask, a sort
order, a sign) compares with odd numbers: rounding must not decide on which side a tie falls.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

SHAPE = (2, 4, 4, 4)
ODD = 0.0371
NUMBERS = np.random.default_rng(0).normal(size=(40, 16, 16))
IMAGE = np.random.default_rng(1).normal(size=SHAPE)  # a constant that the loss brings along
TILT = np.linspace(0, ODD, 4) ** 2  # so that a largest value is the only one
IDS = np.random.default_rng(2).integers(0, 4, SHAPE[:-1])


def constant(*shape, of=0):
    """Numbers of a shape, always the same."""
    return jnp.asarray(NUMBERS[of : of + 8].ravel()[: np.prod(shape, dtype=int)].reshape(shape)) / 3


def spread(x, axes):
    """A reduced value along the axes that it lost."""
    return jnp.broadcast_to(jnp.expand_dims(x, axes), SHAPE)


def convolve(x, kernel, stride=1, pad="SAME", layout=("NHWC", "HWIO", "NHWC"), **how):
    strides = (stride,) * (x.ndim - 2)
    return lax.conv_general_dilated(x, kernel, strides, pad, dimension_numbers=layout, **how)


def pool(x, reduce, start, window, strides=(1, 1, 1, 1)):
    return lax.reduce_window(x, start, reduce, window, strides, "SAME")


def circular(x, width=1):
    return jnp.pad(x, ((0, 0), (width, 0), (width, 0), (0, 0)), mode="wrap")


def halves(x, axis=-1):
    a, b = jnp.split(x, 2, axis)
    return jnp.concatenate([jnp.tanh(b), a], axis)


def uneven(x):
    a, b, c = jnp.split(x, [1, 3], -1)
    return jnp.concatenate([b * jax.nn.sigmoid(a), a + c, c], -1)


def seen(x):
    """Unchanged, and shown to the host."""
    jax.debug.callback(lambda _: None, x.sum())
    return x


def doubled_by_host(x):
    return jax.pure_callback(lambda a: np.asarray(a) * 2, x, x) / 2


def repeatedly(x):
    return lax.while_loop(lambda v: v[0] < 3, lambda v: (v[0] + 1, jnp.sin(v[1])), (0, x))[1]


def segments(x):
    """Sums over nodes of a graph, back to the nodes."""
    nodes = x.reshape(-1, 4)
    return jax.ops.segment_sum(nodes, jnp.arange(32) % 5, 5)[jnp.arange(32) % 3].reshape(SHAPE) / 8


def attention(x):
    tokens = x.reshape(2, 16, 4)
    scores = jnp.einsum("nqd,nkd->nqk", tokens, tokens) / 4
    scores = jnp.where(jnp.tri(16, dtype=bool), scores, -1e9)
    return (jax.nn.softmax(scores, -1) @ tokens).reshape(SHAPE)


def heads(x):
    """Two heads of two channels, which attend to themselves."""
    tokens = x.reshape(2, 16, 2, 2)
    weights = jax.nn.softmax(jnp.einsum("nqhd,nkhd->nhqk", tokens, tokens) / 4, -1)
    return jnp.einsum("nhqk,nkhd->nqhd", weights, tokens).reshape(SHAPE)


def shuffle(x):
    """Channels of two groups, interleaved."""
    return x.reshape(2, 4, 4, 2, 2).swapaxes(3, 4).reshape(SHAPE)


UNARY = {
    # Elementwise.
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "square": lambda x: jnp.square(x) / 4,
    "select": lambda x: jnp.where(x > 0, x, 0.1 * x),
    "clip": lambda x: jnp.clip(x, -0.7, 0.7),
    "sign": lambda x: jnp.sign(x - ODD),
    "floor": lambda x: jnp.floor(3 * x + ODD) / 3,
    "negative": lambda x: 0.3 - x,
    "power": lambda x: (1 + x * x) ** 0.3,
    "mask constant": lambda x: x * (IMAGE > 0),
    "halved": lambda x: x / 2,
    "divided by channel": lambda x: x / jnp.arange(1.0, 5),
    "divisor": lambda x: 1 / (1.5 + jnp.sin(x)),
    "stopped": lambda x: lax.stop_gradient(x),
    # z times a function of z.
    "silu": jax.nn.silu,
    "gelu": jax.nn.gelu,
    "mish": lambda x: x * jnp.tanh(jax.nn.softplus(x)),
    "softsign": lambda x: x / (1 + jnp.abs(x)),
    "mask of itself": lambda x: x * (x > ODD),
    "gated by its mean": lambda x: x * jax.nn.sigmoid(x.mean((1, 2), keepdims=True)),
    "gated by its neighbour": lambda x: x * jnp.roll(x, 1, -1) / 4,
    "squeeze excite": lambda x: x * spread(jax.nn.sigmoid(x.mean((1, 2)) @ constant(4, 4)), (1, 2)),
    # Norms.
    "softmax": lambda x: jax.nn.softmax(x, -1),
    "softmax other": lambda x: jax.nn.softmax(x, 1),
    "norm batch": lambda x: (x - x.mean((0, 1, 2))) / jnp.sqrt(x.var((0, 1, 2)) + 0.1),
    "norm layer": lambda x: (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1)[..., None] + 0.1),
    "norm root mean square": lambda x: x * lax.rsqrt((x * x).mean(-1, keepdims=True) + 0.1),
    "norm group": lambda x: (
        lambda g: (g / jnp.sqrt(g.var((1, 2, 4), keepdims=True) + 0.1)).reshape(SHAPE)
    )(x.reshape(2, 4, 4, 2, 2)),
    "unit length": lambda x: x / jnp.sqrt((x * x).sum() + 0.1),
    # Reductions.
    "max": lambda x: x - x.max(3, keepdims=True),
    "min": lambda x: x - x.min((1, 3), keepdims=True),
    "sum": lambda x: spread(x.sum((2, 3)), (2, 3)) / 8,
    "sum of all": lambda x: x + x.sum() / 16,
    "prod": lambda x: x + jnp.prod(x / 2, 2, keepdims=True),
    "logsumexp": lambda x: x - jax.nn.logsumexp(x, -1, keepdims=True),
    "argmax": lambda x: x + jax.nn.one_hot((x + TILT).argmax(3), 4),
    # Places.
    "transpose": lambda x: x.transpose(0, 2, 3, 1),
    "swap": lambda x: jnp.swapaxes(x, 1, 2),
    "reverse": lambda x: x[..., ::-1],
    "flip": lambda x: x[:, ::-1],
    "roll": lambda x: jnp.roll(x, 1, 3),
    "roll space": lambda x: jnp.roll(x, (1, -1), (1, 2)),
    "slice": lambda x: jnp.tile(x[:, 1:3], (1, 2, 1, 1)),
    "slice channels": lambda x: jnp.concatenate([x[..., 1:3]] * 2, -1),
    "strided": lambda x: x[:, ::2, 1::2].repeat(2, 1).repeat(2, 2),
    "strided channels": lambda x: x[..., ::2].repeat(2, -1),
    "even and odd": lambda x: jnp.concatenate([-x[..., 1::2], x[..., ::2]], -1),  # rotary
    "pad": lambda x: jnp.pad(x[:, 1:, :3], ((0, 0), (1, 0), (0, 1), (0, 0))),
    "pad by one": lambda x: jnp.pad(x[:, 1:], ((0, 0), (0, 1), (0, 0), (0, 0)), constant_values=1),
    "pad channels": lambda x: jnp.pad(x[..., :2], ((0, 0),) * 3 + ((1, 1),)),
    "pad inside": lambda x: lax.pad(x[:, :2], 0.5, [(0, 0, 0), (0, 1, 1), (0, 0, 0), (0, 0, 0)]),
    "crop": lambda x: lax.pad(x, 0.0, [(0, 0, 0), (-1, 1, 0), (2, -2, 0), (0, 0, 0)]),
    "pad circular": lambda x: circular(x)[:, :4, :4],
    "pad reflect": lambda x: jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)), mode="reflect")[:, :4],
    "concatenate": lambda x: jnp.concatenate([x[..., 2:], x[..., :2]], -1),
    "concatenate space": lambda x: jnp.concatenate([x[:, 3:], jnp.sin(x[:, :3])], 1),
    "concatenate fill": lambda x: jnp.concatenate([x[..., :3], jnp.ones((2, 4, 4, 1))], -1),
    "stack": lambda x: jnp.stack([x, jnp.tanh(x)], -1).max(-1),
    "split": halves,
    "split space": lambda x: halves(x, 1),
    "split uneven": uneven,
    "channel": lambda x: jnp.broadcast_to(x[..., 1:2], SHAPE),
    "squeeze": lambda x: jnp.squeeze(x[:, None], 1),
    "take": lambda x: x[:, jnp.array([3, 0, 0, 2])],
    "take channels": lambda x: x[..., jnp.array([3, 0, 0, 2])],
    "take along": lambda x: jnp.take_along_axis(x, (x + TILT).argsort(-1), -1),
    "take per example": lambda x: x.at[jnp.arange(2), jnp.array([1, 3])].multiply(0.5),
    "dynamic slice": lambda x: lax.dynamic_slice_in_dim(x, IDS[0, 0, 0], 2, 1).repeat(2, 1),
    "update": lambda x: x.at[:, 1].set(jnp.tanh(x[:, 2])),
    "update channel": lambda x: x.at[..., 2].add(x[..., 0]),
    "segments": segments,
    "sort": lambda x: jnp.sort(x, 2),
    "sort channels": lambda x: jnp.sort(x, -1),
    "top": lambda x: lax.top_k(x, 2)[0].repeat(2, -1),
    "cumsum": lambda x: jnp.cumsum(x, 3) / 4,
    "cumsum space": lambda x: jnp.cumsum(x, 1) / 4,
    "cumsum reversed": lambda x: lax.cumsum(x, 2, reverse=True) / 4,
    "cummax": lambda x: lax.cummax(x, 1),
    "cummin channels": lambda x: lax.cummin(x, 3),
    "cumprod": lambda x: jnp.cumprod(1 + jnp.tanh(x) / 4, 2),
    "cumlogsumexp": lambda x: lax.cumlogsumexp(x, 1) / 4,
    # Views.
    "reshape": lambda x: jnp.tanh(x.reshape(2, 16, 4)).reshape(SHAPE),
    "mix": lambda x: jnp.tanh(x.reshape(2, 4, 16) / 2).reshape(2, 16, 4).reshape(SHAPE),
    "groups": lambda x: jax.nn.softmax(x.reshape(2, 4, 4, 2, 2), -1).reshape(SHAPE),
    "group sums": lambda x: spread(x.reshape(2, 4, 4, 2, 2).sum(-1).repeat(2, -1), ()),
    "shuffle": shuffle,
    "space to depth": lambda x: (
        x.reshape(2, 2, 2, 2, 2, 4).transpose(0, 1, 3, 5, 2, 4).reshape(SHAPE)
    ),
    "flat": lambda x: jnp.tanh(x.reshape(2, 64)[:, ::-1]).reshape(SHAPE),
    # Windows.
    "average": lambda x: pool(x, lax.add, 0.0, (1, 2, 2, 1)) / 4,
    "average strided": lambda x: (
        pool(x, lax.add, 0.0, (1, 2, 2, 1), (1, 2, 2, 1)).repeat(2, 1).repeat(2, 2) / 4
    ),
    "largest": lambda x: pool(x, lax.max, -jnp.inf, (1, 2, 1, 1)),
    "across": lambda x: pool(x, lax.add, 0.0, (1, 1, 1, 2)) / 2,
    "resized": lambda x: jax.image.resize(x[:, :2, :2], SHAPE, "bilinear"),
    # Products and convolutions with constants.
    "product": lambda x: x @ constant(4, 4),
    "product of space": lambda x: jnp.einsum("nhwc,hg->ngwc", x, constant(4, 4)),
    "flatten": lambda x: spread(x.reshape(2, 64) @ constant(64, 4), (1, 2)) / 3,
    "flatten flipped": lambda x: spread(
        jnp.tanh(x[:, ::2]).transpose(0, 3, 1, 2).reshape(2, 32) @ constant(32, 4), (1, 2)
    ),
    "flatten space": lambda x: (x.reshape(2, 4, 16) @ constant(16, 16) / 3).reshape(SHAPE),
    "convolution": lambda x: convolve(x, constant(2, 2, 4, 4)),
    "convolution strided": lambda x: convolve(x, constant(3, 3, 4, 4), 2).repeat(2, 1).repeat(2, 2),
    "convolution circular": lambda x: convolve(circular(x), constant(2, 2, 4, 4), pad="VALID"),
    "convolution grouped": lambda x: convolve(x, constant(2, 2, 2, 4), feature_group_count=2),
    "convolution depthwise": lambda x: convolve(x, constant(2, 2, 1, 4), feature_group_count=4),
    "convolution transposed": lambda x: lax.conv_transpose(
        x[:, :2, :2], constant(2, 2, 4, 4), (2, 2), "SAME"
    ),
    "gram": lambda x: x @ jnp.swapaxes(x, 2, 3) / 4,
    "attention": attention,
    "heads": heads,
    # The rest of JAX.
    "fourier": lambda x: jnp.fft.ifft(jnp.fft.fft(x, axis=1) * constant(4, 1, 1), axis=1).real,
    "jit": jax.jit(jnp.sin),
    "remat": jax.checkpoint(lambda x: jnp.exp(-jnp.square(x))),
    "tangent": lambda x: jax.jvp(jnp.sin, (x,), (x * x / 4,))[1],
    "gradient": jax.grad(lambda x: jnp.sum(jnp.cos(x) * IMAGE)),
    "vmap": jax.vmap(lambda a: a @ constant(4, 4) + a[::-1]),
    "map": lambda x: lax.map(lambda a: jnp.tanh(a @ a / 4), x),
    "scan": lambda x: lax.scan(lambda c, r: (c / 2 + r, jnp.tanh(c)), x[0], x)[1],
    "scan from ones": lambda x: jnp.swapaxes(
        lax.scan(lambda c, r: ((c + r) / 2, c * r), jnp.ones((2, 4, 4)), x.swapaxes(0, 1))[1], 0, 1
    ),
    "scan backwards": lambda x: lax.scan(
        lambda c, r: (jnp.tanh(c + r),) * 2, x[0] * 0, x, reverse=True
    )[1],
    "while": repeatedly,
    "loop": lambda x: lax.fori_loop(0, 2, lambda i, v: jnp.sin(v + i), x),
    "cond": lambda x: lax.cond(x.sum() > ODD, lambda v: v / 2, lambda v: -v, x),
    "callback": seen,
    "host": doubled_by_host,
}
BINARY = {
    "add": jnp.add,
    "subtract": jnp.subtract,
    "product": lambda a, b: a * b / 4,
    "multiply": lambda a, b: a * jnp.tanh(b),
    "divide": lambda a, b: a / (1 + b * b),
    "maximum": jnp.maximum,
    "where": lambda a, b: jnp.where(a > b + ODD, a, b / 2),
    "mask": lambda a, b: a * (b > ODD),
    "matmul": lambda a, b: a @ b / 4,
    "contract": lambda a, b: jnp.einsum("nhwc,nhwd->nhcd", a, b) / 4,
    "outer": lambda a, b: a + b.mean((1, 2))[:, None, None, :],
    "concatenate": lambda a, b: jnp.concatenate([a[..., :2], b[..., 1:3]], -1),
    "concatenate space": lambda a, b: jnp.concatenate([a[:, ::2], b[:, :2]], 1),
    "concatenate and mix": lambda a, b: jnp.concatenate([a, b], -1) @ constant(8, 4),
    "stack and flatten": lambda a, b: spread(
        jnp.stack([a, b], 1).reshape(2, 128) @ constant(128, 4) / 4, (1, 2)
    ),
    "update": lambda a, b: a.at[:, 1:3].set(b[:, :2]),
    "convolve": lambda a, b: (
        jax.vmap(lambda x, k: convolve(x[None], k.reshape(2, 2, 4, 4))[0])(a, b) / 4
    ),
    "scan": lambda a, b: lax.scan(lambda c, r: (jnp.tanh(c @ r),) * 2, a[:, 0], b.swapaxes(0, 1))[
        1
    ].swapaxes(0, 1),
}
FILLS = {  # what meets the weights without being made of the batch
    "ones": lambda: jnp.ones(SHAPE),
    "full": lambda: jnp.full(SHAPE, 0.7),
    "zeros": lambda: jnp.zeros(SHAPE),
    "arange": lambda: jnp.arange(128.0).reshape(SHAPE) / 64,
    "channels": lambda: jnp.broadcast_to(jnp.arange(4.0), SHAPE),
    "image": lambda: jnp.asarray(IMAGE),
    "identity": lambda: jnp.broadcast_to(jnp.eye(4), SHAPE),
    "noise": lambda: jax.random.normal(jax.random.key(0), SHAPE, jnp.float64),
}
