"""Convolutional networks in plain arrays, after public architectures, with few channels."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from parts import (
    batch_norm,
    classifier,
    convolve,
    group_norm,
    images,
    instance_norm,
    layer_norm,
    numbers,
    pool,
    rms_norm,
    weights,
)

NORMS = {
    "batch norm": batch_norm,
    "group norm": group_norm,
    "layer norm": layer_norm,
    "RMS norm": rms_norm,
    "instance norm": instance_norm,
    "no norm": lambda x: x,
}


def lenet(bias):
    """Convolutions, pooling, and a flattening before the dense layers."""

    def logits(p, x):
        for k in "ab":
            x = convolve(x, p[k]) + (p[f"{k}_bias"] if bias else 0)
            x = pool(jnp.tanh(x)) if k == "a" else jax.nn.silu(x)
        x = x.reshape(len(x), -1)
        for k in "cd":
            x = jax.nn.gelu(x @ p[k] + (p[f"{k}_bias"] if bias else 0))
        return x @ p["out"]

    shapes = {"a": (3, 3, 3, 4), "b": (3, 3, 4, 4), "c": (36, 8), "d": (8, 8), "out": (8, 4)}
    biases = {f"{k}_bias": shapes[k][-1:] for k in "abcd"} if bias else {}
    return classifier(logits, images(), **shapes, **biases)


def channels_first():
    """Images [n, c, h, w] and kernels [out, in, h, w], as PyTorch has them; flattened."""

    def logits(p, x):
        conv = partial(convolve, layout=("NCHW", "OIHW", "NCHW"))
        x = jax.nn.silu(conv(x.transpose(0, 3, 1, 2), p["a"]))
        x = jax.nn.relu(conv(x, p["b"]) + p["bias"][:, None, None])[:, :, ::2, ::2]
        return x.reshape(len(x), -1) @ p["out"].T

    shapes = {"a": (4, 3, 3, 3), "b": (4, 4, 3, 3), "bias": (4,), "out": (4, 36)}
    return classifier(logits, images(), **shapes)


def resnet(norm):
    """A stem, then a block with a strided shortcut."""

    def normal(p, name, x):
        return NORMS[norm](x) * p[f"{name}_scale"] + p[f"{name}_shift"]

    def logits(p, x):
        x = jax.nn.relu(normal(p, "stem", convolve(x, p["stem"])))
        h = jax.nn.silu(NORMS[norm](convolve(x, p["a"], 2)))
        x = jax.nn.relu(normal(p, "b", convolve(h, p["b"])) + convolve(x, p["short"], 2))
        return x.mean((1, 2)) @ p["out"]

    kernels = {"stem": (3, 3, 3, 4), **dict.fromkeys("ab", (3, 3, 4, 4)), "short": (1, 1, 4, 4)}
    affine = {f"{k}_{what}": (4,) for k in ("stem", "b") for what in ("scale", "shift")}
    return classifier(logits, images(), **kernels, **affine, out=(4, 4))


def densenet():
    def logits(p, x):
        x = convolve(x, p["stem"])
        for k in "ab":
            x = jnp.concatenate([x, convolve(jax.nn.relu(batch_norm(x)), p[k])], -1)
        x = pool(convolve(jax.nn.silu(x), p["narrow"]))
        x = jnp.concatenate([x, convolve(jax.nn.relu(batch_norm(x)), p["c"])], -1)
        return x.mean((1, 2)) @ p["out"]

    shapes = {"stem": (3, 3, 3, 4), "a": (3, 3, 4, 4), "b": (3, 3, 8, 4), "narrow": (1, 1, 12, 4)}
    return classifier(logits, images(), **shapes, c=(3, 3, 4, 4), out=(8, 4))


def shuffle(x, groups=2):
    n, h, w, c = x.shape
    return x.reshape(n, h, w, groups, c // groups).swapaxes(3, 4).reshape(x.shape)


def shufflenet(split):
    """Grouped convolutions and a shuffle; or, version 2, half of the channels as they are."""

    def unit(p, k, x):
        h = jax.nn.relu(convolve(x, p[f"{k}1"], feature_group_count=2))
        h = convolve(shuffle(h), p[f"{k}2"], feature_group_count=4)
        return convolve(batch_norm(h), p[f"{k}3"], feature_group_count=2)

    def logits(p, x):
        x = convolve(x, p["stem"], 2)
        if split:
            left, right = jnp.split(x, 2, -1)
            x = shuffle(jnp.concatenate([left, jax.nn.relu(unit(p, "a", right))], -1))
        else:
            x = jax.nn.relu(x[..., 4:] + unit(p, "a", x[..., :4]))
            x = jnp.concatenate([jax.nn.relu(unit(p, "b", x)), x], -1)
        return x.mean((1, 2)) @ p["out"]

    units = {
        f"{k}{i}": shape
        for k in ("a" if split else "ab")
        for i, shape in enumerate(((1, 1, 2, 4), (3, 3, 1, 4), (1, 1, 2, 4)), 1)
    }
    return classifier(logits, images(), stem=(3, 3, 3, 8), **units, out=(8, 4))


def mobilenet(squeeze_excite):
    """Inverted residuals: widened, depthwise, perhaps gated by the mean, narrowed."""

    def logits(p, x):
        x = jax.nn.relu6(convolve(x, p["stem"]))
        for k, stride in (("a", 1), ("b", 2)):
            h = jax.nn.silu(batch_norm(convolve(x, p[f"{k}1"])))
            h = jax.nn.silu(convolve(h, p[f"{k}2"], stride, feature_group_count=8))
            if squeeze_excite:
                small = jax.nn.silu(h.mean((1, 2)) @ p[f"{k}_in"])
                h = h * jax.nn.sigmoid(small @ p[f"{k}_out"])[:, None, None]
            h = convolve(h, p[f"{k}3"])
            x = x + h if stride == 1 else h
        return x.mean((1, 2)) @ p["out"]

    shapes = {"stem": (3, 3, 3, 4)}
    for k in "ab":
        shapes |= {f"{k}1": (1, 1, 4, 8), f"{k}2": (3, 3, 1, 8), f"{k}3": (1, 1, 8, 4)}
        if squeeze_excite:
            shapes |= {f"{k}_in": (8, 2), f"{k}_out": (2, 8)}
    return classifier(logits, images(), **shapes, out=(4, 4))


def up(x, kernel):
    return lax.conv_transpose(x, kernel, (2, 2), "SAME")


def unet():
    """Down and up again, with skips by concatenation; a loss at every pixel."""

    def loss(p, x):
        a = jax.nn.silu(convolve(x, p["a"]))
        b = jax.nn.relu(convolve(pool(a), p["b"]))
        c = jnp.concatenate([a, up(b, p["up"])], -1)
        d = jax.nn.gelu(convolve(c, p["c"]))
        return jnp.mean((convolve(d, p["out"])[..., 0] - x[..., 0]) ** 2)

    shapes = {"a": (3, 3, 3, 4), "b": (3, 3, 4, 4), "up": (2, 2, 4, 4), "c": (3, 3, 8, 4)}
    return weights(**shapes, out=(1, 1, 4, 1)), loss, images()


def generator():
    """Transposed convolutions from a code, as of a GAN, and a critic of strided ones."""

    def loss(p, x):
        h = jax.nn.relu((x @ p["code"]).reshape(2, 3, 3, 4))
        image = jnp.tanh(up(h, p["up"]))
        score = jax.nn.leaky_relu(convolve(image, p["down"], 2)) * 0.5
        return jax.nn.softplus(-(score.reshape(2, -1) @ p["critic"])).mean()

    shapes = {"code": (4, 36), "up": (4, 4, 4, 3), "down": (3, 3, 3, 4), "critic": (36, 1)}
    return weights(**shapes), loss, numbers(7, 2, 4)


BETWEEN = {
    "circular padding": lambda x: jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap")[
        :, :-2, :-2
    ],
    "reflected padding": lambda x: jnp.pad(x, ((0, 0), (2, 0), (0, 2), (0, 0)), mode="reflect")[
        :, :6, 2:
    ],
    "strided slicing": lambda x: x[:, ::2, ::2].repeat(2, 1).repeat(2, 2),
    "roll": lambda x: jnp.roll(x, (2, -1), (1, 2)),
    "flips": lambda x: x[:, ::-1, :, :][:, :, ::-1],
    "flipped channels": lambda x: x[..., ::-1],
    "pixel shuffle": lambda x: (
        x.reshape(2, 3, 2, 3, 2, 4).transpose(0, 1, 3, 5, 2, 4).reshape(x.shape)
    ),
    "largest of windows": lambda x: lax.reduce_window(
        x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 1, 1, 1), "SAME"
    ),
    "channel split": lambda x: jnp.concatenate([x[..., :1], jnp.sin(x[..., 1:])], -1),
    "running mean": lambda x: jnp.cumsum(x, 1) / jnp.arange(1.0, 7)[:, None, None],
    "resized": lambda x: jax.image.resize(x[:, ::2], x.shape, "bilinear"),
}


def between(name):
    """Something between convolutions without biases."""

    def logits(p, x):
        for k in "ab":
            x = jax.nn.relu(BETWEEN[name](convolve(x, p[k])))
        return BETWEEN[name](convolve(x, p["c"])).mean((1, 2)) @ p["out"]

    shapes = {"a": (3, 3, 3, 4), "b": (3, 3, 4, 4), "c": (3, 3, 4, 4), "out": (4, 4)}
    return classifier(logits, images(), **shapes)


def dilated():
    """A pyramid of dilations, added and concatenated."""

    def logits(p, x):
        x = jax.nn.silu(convolve(x, p["a"]))
        pyramid = [convolve(x, p["b"], rhs_dilation=(d, d)) for d in (1, 2, 3)]
        x = jnp.concatenate([jax.nn.gelu(pyramid[0]), pyramid[1] + pyramid[2]], -1)
        return x.mean((1, 2)) @ p["out"]

    return classifier(logits, images(), a=(3, 3, 3, 4), b=(3, 3, 4, 4), out=(8, 4))


def convnext():
    """Depthwise, LayerNorm, a dense layer of each pixel, GELU, a scale of every channel."""

    def logits(p, x):
        x = convolve(x, p["patches"], 2, "VALID")
        h = layer_norm(convolve(x, p["depthwise"], feature_group_count=4))
        h = jax.nn.gelu(h @ p["wide"]) @ p["narrow"]
        return layer_norm((x + p["gain"] * h).mean((1, 2))) @ p["out"]

    shapes = {"patches": (2, 2, 3, 4), "depthwise": (3, 3, 1, 4), "wide": (4, 8)}
    return classifier(logits, images(), **shapes, narrow=(8, 4), gain=(4,), out=(4, 4))


def mixer():
    """MLP-Mixer: products over places and over channels in turn."""

    def logits(p, x):
        x = convolve(x, p["patches"], 2, "VALID").reshape(2, 9, 4)
        h = jax.nn.gelu(layer_norm(x).swapaxes(1, 2) @ p["places_in"]) @ p["places_out"]
        x = x + h.swapaxes(1, 2)
        x = x + jax.nn.gelu(layer_norm(x) @ p["in"]) @ p["narrow"]
        return x.mean(1) @ p["out"]

    shapes = {"patches": (2, 2, 3, 4), "places_in": (9, 4), "places_out": (4, 9)}
    return classifier(logits, images(), **shapes, **{"in": (4, 8)}, narrow=(8, 4), out=(4, 4))


def coordinates():
    """Images that are constants made inside the loss: a style that leads to one target."""

    def loss(p, target):
        grid = jnp.stack(jnp.meshgrid(jnp.linspace(-1, 1, 6), jnp.linspace(-1, 1, 6)), -1)[None]
        h = jax.nn.silu(convolve(grid, p["a"]))
        h = jnp.tanh(convolve(h + convolve(jnp.ones_like(grid), p["a"]), p["b"]))
        return jnp.mean((h @ p["c"] - target) ** 2)

    return weights(a=(3, 3, 2, 4), b=(3, 3, 4, 4), c=(4, 3)), loss, images()


ARCHITECTURES = {
    "LeNet": partial(lenet, False),
    "LeNet, biases": partial(lenet, True),
    "channels and outputs first": channels_first,
    "DenseNet": densenet,
    "ShuffleNet": partial(shufflenet, False),
    "ShuffleNet v2": partial(shufflenet, True),
    "MobileNetV2": partial(mobilenet, False),
    "MobileNetV2, squeeze-excite": partial(mobilenet, True),
    "U-Net": unet,
    "generator and critic": generator,
    "dilated pyramid": dilated,
    "ConvNeXt": convnext,
    "MLP-Mixer": mixer,
    "constant images": coordinates,
}
ARCHITECTURES |= {f"ResNet, {norm}": partial(resnet, norm) for norm in NORMS}
ARCHITECTURES |= {f"convolutions, {name}": partial(between, name) for name in BETWEEN}
