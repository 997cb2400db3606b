"""Local heads: logits of a layer's own, from which it has a loss of its own.

A network with heads returns the logits of every layer by name, in its order, its own last ones at
the end. A head lies beside its layer in the parameters, ``conv1_head`` beside ``conv1``.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rso_jax.errors import UserError
from rso_jax.networks.layers import he_normal
from rso_jax.trees import path_name

PyTree = Any

_SUFFIX = "_head"
_HIDDEN = "hidden"


class Head(nn.Module):
    """Linear map without a bias from a layer's output, averaged over bins of pixels, to logits.

    With a ``width`` a hidden layer comes before it, the same at every pixel: a linear map from the
    channels to so many, with biases, and a ReLU, whose output is then what is averaged. A head that
    sees more than sums over pixels asks for other features of its layer (Belilovsky et al., arXiv
    1812.11446, section 3.2).

    It begins as He et al. draw kernels: from zeros, the layer below would have no slope at first.
    Each bin's weights are spread over its pixels first, so that the output is multiplied once, and
    what changes at one pixel changes the logits by its own weights alone. The ``kernel`` is
    [channels, bins * bins, classes], or [features, classes] where the output has no pixels; behind
    a hidden layer ``width`` stands for channels and features.

    Attributes:
        classes: number of logits.
        bins: a side, of which each covers the pixels that ``shares_of_bins`` says.
        width: channels of the hidden layer; None for none.
    """

    classes: int
    bins: int
    width: int | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Logits [examples, classes] of what the next layer sees.

        Args:
            x: [examples, height, width, channels], or [examples, features].

        Raises:
            UserError: another number of axes, more bins than pixels, or bins where are none.
        """
        if x.ndim not in (2, 4):
            raise UserError(
                f"a head is given an output of shape {x.shape}; it takes [examples, height, width, "
                "channels] or [examples, features]"
            )
        if x.ndim == 2 and self.bins != 1:
            raise UserError(
                f"heads have {self.bins} bins a side, but this output has no pixels: heads=1"
            )
        if self.width is not None:
            x = nn.relu(nn.Dense(self.width, kernel_init=he_normal, name=_HIDDEN)(x))
        shares = shares_of_bins(x.shape[1:-1], self.bins) if x.ndim == 4 else None
        channels, places = x.shape[-1], self.bins**2
        shape = (channels, places, self.classes) if x.ndim == 4 else (channels, self.classes)
        kernel = self.param("kernel", _draw, shape)
        if shares is None:
            return x @ kernel
        by_pixel = jnp.einsum("hwb,cbk->hwck", jnp.asarray(shares, x.dtype), kernel)
        return jnp.tensordot(x, by_pixel, axes=3)


def _draw(key: Array, shape: tuple[int, ...]) -> Array:
    """A kernel whose last axis is of outputs, as He et al. draw it; float32 in 64-bit mode too."""
    flat = (math.prod(shape[:-1]), shape[-1])
    return he_normal(key, flat, jnp.float32).reshape(shape)


def shares_of_bins(pixels: tuple[int, ...], bins: int) -> np.ndarray:
    """The share of each pixel in the mean of each bin, [height, width, bins * bins].

    Along a side of s pixels bin i covers those from floor(i s / bins) to before
    ceil((i + 1) s / bins): all pixels, and where the bins do not divide them neighbours share some,
    as in PyTorch's ``AdaptiveAvgPool2d``.

    Raises:
        UserError: fewer than one bin, or more than there are pixels.
    """
    height, width = pixels
    if not 1 <= bins <= min(height, width):
        raise UserError(
            f"heads have {bins} bins a side; an output of {height}x{width} pixels takes 1 to "
            f"{min(height, width)}"
        )
    both = np.einsum("hi,wj->hwij", _shares(height, bins), _shares(width, bins))
    return both.reshape(height, width, bins * bins)


def _shares(size: int, bins: int) -> np.ndarray:
    """The share of each pixel in each bin along one side, [size, bins]."""
    shares = np.zeros((size, bins))
    for i in range(bins):
        start, stop = i * size // bins, -(-(i + 1) * size // bins)
        shares[start:stop, i] = 1 / (stop - start)
    return shares


def add_head(
    logits: dict[str, Array],
    layer: str,
    seen: Array,
    classes: int,
    bins: int | None,
    width: int | None,
) -> None:
    """Put the logits of a layer's head among the others; to be called by a compact module.

    Args:
        logits: of the layers before, by name; changed.
        layer: name of the layer; its head's in the parameters is this and ``_head``.
        seen: what the next layer sees of it, as of ``Head``.
        classes: number of logits.
        bins: a side; None for no heads, and then nothing is done.
        width: of a hidden layer in the head; None for none.
    """
    if bins is not None:
        logits[layer] = Head(classes, bins, width, name=layer + _SUFFIX)(seen)


def count_in_heads(params: PyTree) -> int:
    """How many of the parameters are heads'; arrays, or shapes and types of them."""
    found = jax.tree_util.tree_leaves_with_path(params)
    return sum(int(np.size(a)) for path, a in found if is_in_head(path_name(path)))


def is_in_head(path: str) -> bool:
    """Whether an array is of a head, by its path."""
    return head_of(path) != ""


def head_of(path: str) -> str:
    """The path of the head that an array is of, by its own; empty if it is of none."""
    parts = path.split("/")
    ends = [i for i, part in enumerate(parts, start=1) if part.endswith(_SUFFIX)]
    return "/".join(parts[: ends[0]]) if ends else ""


def gives_logits_of_head(path: str) -> bool:
    """Whether an array of a head makes its logits, and is not of its hidden layer, by its path."""
    return is_in_head(path) and path.split("/")[-2:-1] != [_HIDDEN]
