"""Local heads: logits of a layer's own, from which it has a loss of its own.

A network with heads returns the logits of every layer by name, in its order, its own last ones at
the end. A head lies beside its layer in the parameters, ``conv1_head`` beside ``conv1``.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rso_jax.errors import UserError
from rso_jax.networks.layers import he_normal

PyTree = Any

_SUFFIX = "_head"


class Head(nn.Module):
    """Linear map without a bias from a layer's output, averaged over bins of pixels, to logits.

    It begins as He et al. draw kernels: from zeros, the layer below would have no slope at first.
    Its ``kernel`` is [channels, bins * bins, classes], or [features, classes] where the output has
    no pixels.

    Attributes:
        classes: number of logits.
        bins: a side, of which each covers the pixels that ``average_bins`` says.
    """

    classes: int
    bins: int

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
        pooled = average_bins(x, self.bins) if x.ndim == 4 else x
        linear = nn.DenseGeneral(
            self.classes, axis=tuple(range(1, pooled.ndim)), use_bias=False, kernel_init=he_normal
        )
        nn.share_scope(self, linear)
        logits: Array = linear(pooled)
        return logits


def average_bins(x: Array, bins: int) -> Array:
    """Means over bins of pixels, [examples, channels, bins * bins].

    Along a side of s pixels bin i covers those from floor(i s / bins) to before
    ceil((i + 1) s / bins): all pixels, and where the bins do not divide them neighbours share some,
    as in PyTorch's ``AdaptiveAvgPool2d``. It is one product with a constant matrix, which on a CPU
    is faster for one channel of a candidate than XLA's windows and sums are, and which leaves
    channels apart.

    Args:
        x: [examples, height, width, channels].
        bins: a side.

    Raises:
        UserError: fewer than one bin, or more than there are pixels.
    """
    examples, height, width, channels = x.shape
    if not 1 <= bins <= min(height, width):
        raise UserError(
            f"heads have {bins} bins a side; an output of {height}x{width} pixels takes 1 to "
            f"{min(height, width)}"
        )
    shares = np.kron(_shares(height, bins), _shares(width, bins))
    pixels = x.reshape(examples, height * width, channels)
    return jnp.tensordot(pixels, jnp.asarray(shares, x.dtype), axes=(1, 0))


def _shares(size: int, bins: int) -> np.ndarray:
    """The share of each pixel in each bin along one side, [size, bins]."""
    shares = np.zeros((size, bins))
    for i in range(bins):
        start, stop = i * size // bins, -(-(i + 1) * size // bins)
        shares[start:stop, i] = 1 / (stop - start)
    return shares


def add_head(
    logits: dict[str, Array], layer: str, seen: Array, classes: int, bins: int | None
) -> None:
    """Put the logits of a layer's head among the others; to be called by a compact module.

    Args:
        logits: of the layers before, by name; changed.
        layer: name of the layer; its head's in the parameters is this and ``_head``.
        seen: what the next layer sees of it, as of ``Head``.
        classes: number of logits.
        bins: a side; None for no heads, and then nothing is done.
    """
    if bins is not None:
        logits[layer] = Head(classes, bins, name=layer + _SUFFIX)(seen)


def count_in_heads(params: PyTree) -> int:
    """How many of the parameters are heads'; arrays, or shapes and types of them."""
    found = jax.tree_util.tree_leaves_with_path(params)
    return sum(int(np.size(a)) for path, a in found if _is_in_head(path))


def _is_in_head(path: tuple[Any, ...]) -> bool:
    return any(str(getattr(part, "key", "")).endswith(_SUFFIX) for part in path)
