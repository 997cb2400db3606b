"""What random losses do with the leaf, by its shape: products, convolutions, tables, loops."""

import jax
import jax.numpy as jnp
from jax import lax
from random_operations import IDS, IMAGE, ODD, SHAPE, circular, constant, convolve, spread


def cell(x, w, start):
    """A recurrent cell along the second axis of space."""
    rows = jnp.moveaxis(x, 2, 0)
    return jnp.moveaxis(lax.scan(lambda h, r: (jnp.tanh(h @ w + r),) * 2, start, rows)[1], 0, 2)


def unrolled(x, w):
    """The same cell, unrolled, from ones."""
    h, out = jnp.ones((2, 4, 4)), []
    for t in range(4):
        h = jax.nn.sigmoid(x[:, :, t] @ w) * h + h @ w / 2
        out.append(h)
    return jnp.stack(out, 2)


def attend(x, w):
    """Queries from the leaf, two heads by reshape and index."""
    tokens = x.reshape(2, 16, 4)
    q = (tokens @ w).reshape(2, 16, 2, 2)
    k = tokens.reshape(2, 16, 2, 2)
    weights = jax.nn.softmax(jnp.einsum("nqhd,nkhd->nhqk", q, k) / 2, -1)
    return jnp.einsum("nhqk,nkhd->nqhd", weights, k).reshape(SHAPE)


def packed(x, w):
    """Keys and values packed in one product; a head each."""
    kv = (x.reshape(2, 16, 4) @ w).reshape(2, 16, 2, 4).transpose(2, 0, 1, 3)
    k, v = kv[0], kv[1]
    return (jax.nn.softmax(k @ k.swapaxes(1, 2) / 4, -1) @ v).reshape(SHAPE)


def maxout(x, w):
    return (x @ w).reshape(2, 4, 4, 4, 2).max(-1)


def gated(x, w):
    a, b = jnp.split(x @ w, 2, -1)
    return a * jax.nn.sigmoid(b)


def experts(x, w):
    gates = jax.nn.softmax(x @ constant(4, 3), -1)
    return jnp.einsum("nhwe,nhwed->nhwd", gates, jnp.einsum("nhwc,ecd->nhwed", x, w))


def spectral(w):
    """The matrix over an estimate of its largest singular value."""
    v = w.T @ (w @ jnp.ones(w.shape[1]))
    return w / jnp.sqrt((w @ (v / jnp.sqrt((v * v).sum() + 0.1)) ** 2).sum() ** 2 + 0.5)


MATRIX = {
    "dense": lambda x, w: x @ w,
    "dense transposed": lambda x, w: x @ w.T,
    "dense first": lambda x, w: jnp.einsum("cd,nhwc->dnhw", w, x).transpose(1, 2, 3, 0),
    "dense of space": lambda x, w: jnp.einsum("nhwc,hg->ngwc", x, w),
    "silu": lambda x, w: jax.nn.silu(x @ w),
    "twice": lambda x, w: x @ w @ w,
    "square": lambda x, w: x @ (w @ w),
    "symmetric": lambda x, w: x @ (w + w.T),
    "bilinear": lambda x, w: x * (x @ w) / 2,
    "gate": lambda x, w: (x @ w) * jax.nn.sigmoid(x @ w.T),
    "spectral norm": lambda x, w: x @ spectral(w),
    "weight norm": lambda x, w: x @ (w / jnp.sqrt((w * w).sum(0) + 0.1)),
    "masked": lambda x, w: x @ (w * jnp.tri(4)),
    "masked by itself": lambda x, w: x @ (w * (w > ODD)),
    "signs": lambda x, w: x @ jnp.sign(w + ODD),
    "tanh": lambda x, w: x @ jnp.tanh(w),
    "scaled": lambda x, w: x @ (0.3 * w),
    "rounded": lambda x, w: x @ w.astype(jnp.float32).astype(jnp.float64),
    "columns": lambda x, w: jnp.concatenate([x @ w[:, :2], x[..., :2] @ w[:2, 2:]], -1),
    "rows": lambda x, w: x[..., :2] @ w[:2] + x[..., 2:] @ w[2:],
    "padded": lambda x, w: x @ jnp.pad(w[1:], ((0, 1), (0, 0))),
    "table": lambda x, w: x + w[IDS],
    "table of space": lambda x, w: x + w[None, :, None, :],
    "table and gate": lambda x, w: w[IDS] * jax.nn.sigmoid(w[IDS] @ constant(4, 4)),
    "bag": lambda x, w: x + spread(w[IDS].sum((1, 2)), (1, 2)) / 4,
    "one hot": lambda x, w: x * (jax.nn.one_hot(IDS, 4) @ w),
    "fill": lambda x, w: x + jnp.ones(SHAPE) @ w,
    "image": lambda x, w: x + jnp.tanh(IMAGE @ w),
    "cell": lambda x, w: cell(x, w, jnp.zeros((2, 4, 4))),
    "cell from ones": lambda x, w: cell(x, w, jnp.ones((2, 4, 4))),
    "cell from itself": lambda x, w: cell(x, w, x[:, 0] * w),
    "unrolled": unrolled,
    "attention": attend,
    "rows of a loop": lambda x, w: x + lax.scan(lambda h, r: (h + r, h * r), jnp.ones(4), w)[1],
    "solve": lambda x, w: x @ jnp.linalg.inv(w @ w.T / 4 + 2 * jnp.eye(4)),
    "as a value": lambda x, w: x + w,
    "as a factor": lambda x, w: x * w,
    "penalty": lambda x, w: x + (w * w).sum() / 16,
    "tangent": lambda x, w: jax.jvp(lambda v: jnp.tanh(v @ w), (x,), (jnp.ones(SHAPE),))[1],
    "gradient": lambda x, w: jax.grad(lambda v: jnp.sum(jnp.sin(v @ w)))(x),
    "fast weights": lambda x, w: x @ (w - jax.grad(lambda v: jnp.sum(jnp.sin(x @ v)) / 16)(w)),
}
KERNEL = {
    "convolution": lambda x, w: convolve(x, w),
    "no bias, gelu": lambda x, w: jax.nn.gelu(convolve(x, w)),
    "strided": lambda x, w: convolve(x, w, 2).repeat(2, 1).repeat(2, 2),
    "circular": lambda x, w: convolve(circular(x), w, pad="VALID"),
    "depthwise": lambda x, w: convolve(x, w[:, :, :1], feature_group_count=4),
    "grouped": lambda x, w: convolve(x, w[:, :, :2], feature_group_count=2),
    "dilated": lambda x, w: convolve(x, w, rhs_dilation=(2, 1)),
    "transposed": lambda x, w: lax.conv_transpose(x[:, ::2, ::2], w, (2, 2), "SAME"),
    "batch groups": lambda x, w: convolve(x, w, batch_group_count=2).repeat(2, 0),
    "along a row": lambda x, w: convolve(
        x.reshape(2, 16, 4), w[0], layout=("NHC", "HIO", "NHC")
    ).reshape(SHAPE),
    "channels first": lambda x, w: convolve(x, w, layout=("NCHW", "HWIO", "NCHW")),
    "input last": lambda x, w: convolve(x, w, layout=("NHWC", "HWOI", "NHWC")),
    "as the image": lambda x, w: convolve(jnp.tile(w, (1, 2, 1, 1)), w[:, :, :, ::-1]) + x,
    "fill": lambda x, w: x * convolve(jnp.ones(SHAPE), w),
    "standardised": lambda x, w: convolve(
        x, (w - w.mean((0, 1, 2))) / jnp.sqrt(w.var((0, 1, 2)) + 0.1)
    ),
    "flattened": lambda x, w: (x.reshape(2, 4, 16) @ w.reshape(16, 4)).repeat(4, -1).reshape(SHAPE),
    "scale": lambda x, w: x * w[1, 1, 0],
    "shift": lambda x, w: x + w[0, 1, 2],
    "as a value": lambda x, w: x + w.repeat(2, 1)[:, :, :4],
    "twice": lambda x, w: convolve(jnp.tanh(convolve(x, w)), w.swapaxes(2, 3)),
}
OUTPUT_FIRST = {  # [4, 4, 2, 2], as PyTorch and Equinox store it
    "convolution": lambda x, w: convolve(x, w, layout=("NCHW", "OIHW", "NCHW")),
    "images last": lambda x, w: jax.nn.silu(convolve(x, w, layout=("NHWC", "OIHW", "NHWC"))),
    "depthwise": lambda x, w: convolve(
        x, w[:, :1], layout=("NCHW", "OIHW", "NCHW"), feature_group_count=4
    ),
    "transposed": lambda x, w: lax.conv_transpose(
        x[:, :, :2, :2], w, (2, 2), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")
    ),
    "patches": lambda x, w: (
        jnp.einsum("nhawbc,ocab->nhwo", x.reshape(2, 2, 2, 2, 2, 4), w).repeat(2, 1).repeat(2, 2)
    ),
}
VECTOR = {
    "shift": lambda x, w: x + w,
    "scale": lambda x, w: x * w,
    "affine": lambda x, w: x * (1 + w) + w,
    "product": lambda x, w: (x @ w)[..., None] * jnp.ones(4),
    "as a matrix": lambda x, w: x @ jnp.diag(w),
    "outer": lambda x, w: x @ jnp.outer(w, w),
    "of space": lambda x, w: x * w[:, None, None],
    "temperature": lambda x, w: jax.nn.softmax(x * jnp.exp(w), -1),
    "centres": lambda x, w: jnp.exp(-((x[..., :1] - w) ** 2)),
    "polynomial": lambda x, w: sum(w[i] * jnp.tanh(x) ** i for i in range(4)),
    "convolution": lambda x, w: convolve(
        x, w.reshape(2, 2, 1, 1).repeat(4, 3), feature_group_count=4
    ),
    "softmax": lambda x, w: (x * jax.nn.softmax(w)).sum(-1, keepdims=True) * jnp.ones(4),
    "sorted": lambda x, w: x + jnp.sort(w + 0.1 * constant(4)),
    "cell": lambda x, w: cell(x, jnp.diag(w), jnp.ones((2, 4, 4))),
}
SCALAR = {
    "scale": lambda x, w: x * w,
    "gain": lambda x, w: x + w * jnp.tanh(x @ constant(4, 4)),
    "temperature": lambda x, w: jax.nn.softmax(x / (0.5 + w * w), -1),
    "scale and product": lambda x, w: (w * x) @ constant(4, 4),
    "matrix and product": lambda x, w: x @ (w * constant(4, 4)),
    "fill and product": lambda x, w: x @ jnp.full((4, 4), w),
    "sine and product": lambda x, w: (x * jnp.sin(w)) @ constant(4, 4) * w,
    "power": lambda x, w: (1 + x * x) ** w,
    "threshold": lambda x, w: x * (x > w),
    "clip": lambda x, w: jnp.clip(x, -w, 1 + w * w),
    "convolution": lambda x, w: convolve(x, w * constant(2, 2, 4, 4)),
    "decay": lambda x, w: cell(x, w * jnp.eye(4), jnp.ones((2, 4, 4))),
    "pad": lambda x, w: lax.pad(x[:, 1:], w, [(0, 0, 0), (1, 0, 0), (0, 0, 0), (0, 0, 0)]),
}
STACK = {  # [layers, 4, 4]
    "layers": lambda x, w: lax.scan(lambda h, k: (jnp.tanh(h @ k), None), x, w)[0],
    "residual layers": lambda x, w: lax.scan(
        lambda h, k: (h + jax.nn.silu(h @ k) @ k.T / 2, None), x, w, unroll=2
    )[0],
    "layers backwards": lambda x, w: lax.scan(
        lambda h, k: (jax.nn.relu(h @ k), h.mean()), x, w, reverse=True
    )[0],
    "layers in a loop": lambda x, w: lax.fori_loop(0, 3, lambda i, h: jnp.tanh(h @ w[i]), x),
    "unrolled layers": lambda x, w: jnp.tanh(jnp.tanh(x @ w[0]) @ w[1]) @ w[2],
    "experts": experts,
    "picked": lambda x, w: jnp.einsum("nhwc,ncd->nhwd", x, w[jnp.array([2, 0])]),
    "mean": lambda x, w: x @ w.mean(0),
    "cell and input": lambda x, w: cell(jax.nn.sigmoid(x @ w[0]), w[1], x[:, :, 0] @ w[2]),
    "convolution": lambda x, w: convolve(
        x.reshape(2, 16, 4), w, layout=("NHC", "HIO", "NHC")
    ).reshape(SHAPE),
    "ensemble": lambda x, w: jax.vmap(lambda k: jax.nn.gelu(x @ k))(w).mean(0),
}
HEADS = {  # [4, 2, 2], as kernels of several heads
    "into heads": lambda x, w: jnp.einsum("nhwc,cgd->nhwgd", x, w).reshape(SHAPE),
    "heads gated": lambda x, w: jax.nn.gelu(jnp.einsum("nhwc,cgd->nhwgd", x, w)).reshape(SHAPE),
    "out of heads": lambda x, w: jnp.einsum("nhwgd,cgd->nhwc", x.reshape(2, 4, 4, 2, 2), w),
    "attention": lambda x, w: jnp.einsum(
        "nhvgd,cgd->nhvc",
        jax.nn.softmax(jnp.einsum("nhwc,cgd->nhwgd", x, w), 2) * x.reshape(2, 4, 4, 2, 2),
        w,
    ),
    "one head": lambda x, w: jnp.concatenate([x @ w[:, 0], jnp.tanh(x @ w[:, 1])], -1),
}
WIDE = {  # [4, 8]
    "gated split": gated,
    "gelu split": lambda x, w: jax.nn.gelu(x @ w)[..., :4] * (x @ w)[..., 4:],
    "maxout": maxout,
    "packed": packed,
    "groups": lambda x, w: jax.nn.softmax((x @ w).reshape(2, 4, 4, 4, 2), -1)[..., 0],
    "autoencoder": lambda x, w: jax.nn.silu(x @ w) @ w.T,
    "every other": lambda x, w: (x @ w)[..., ::2] + (x @ w)[..., 1::2] ** 2 / 4,
    "pixels": lambda x, w: (
        (x[:, ::2] @ w).reshape(2, 2, 4, 2, 4).transpose(0, 1, 3, 2, 4).reshape(SHAPE)
    ),
}
TALL = {  # [16, 4]
    "flatten": lambda x, w: (x.reshape(2, 4, 16) @ w)[:, :, None] * jnp.ones((4, 1)),
    "flatten turned": lambda x, w: (
        (jnp.tanh(x).transpose(0, 1, 3, 2).reshape(8, 16) @ w).reshape(2, 4, 1, 4).repeat(4, 2)
    ),
    "table": lambda x, w: x + w[4 * IDS + IDS[::-1]],
    "concatenated": lambda x, w: jnp.concatenate([x, x[..., ::-1], x * x / 4, -x], -1) @ w,
    "patches": lambda x, w: (
        (x.reshape(2, 2, 2, 2, 2, 4).transpose(0, 1, 3, 2, 4, 5).reshape(2, 2, 2, 16) @ w)
        .repeat(2, 1)
        .repeat(2, 2)
    ),
    "position": lambda x, w: x + w.reshape(4, 4, 4),
}
LEAVES = {
    "matrix": ((4, 4), MATRIX),
    "kernel": ((2, 2, 4, 4), KERNEL),
    "output first": ((4, 4, 2, 2), OUTPUT_FIRST),
    "vector": ((4,), VECTOR),
    "scalar": ((), SCALAR),
    "stack": ((3, 4, 4), STACK),
    "heads": ((4, 2, 2), HEADS),
    "wide": ((4, 8), WIDE),
    "tall": ((16, 4), TALL),
}
