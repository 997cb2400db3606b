"""Layers of the paper's networks: a linear map without bias, then normalisation.

Both keep their arrays side by side (``kernel``, ``scale``, ``bias``), so that the pytree has
one node per layer. Without normalisation the linear map has a bias.
"""

from typing import Literal

import flax.linen as nn
from jax import Array

Norm = Literal["batch", "layer", "none"]
"""Batch norm; ``layer``, by the statistics of each example alone; or none, and biases."""

# N(0, sqrt(2 / fan_in)), untruncated, as in the paper (section 3).
he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def batch_norm() -> nn.BatchNorm:
    """Batch normalisation whose running statistics are those of the last batch seen.

    Momentum 0, because statistics come from ``calibrate`` and not from training; the
    two-pass variance, because E[x^2] - E[x]^2 loses digits and search compares losses that
    differ in the last ones.
    """
    return nn.BatchNorm(momentum=0.0, use_fast_variance=False)


def layer_norm(axes: tuple[int, ...] = (-1,)) -> nn.LayerNorm:
    """Normalisation over these axes of each example, with a scale and a bias per feature.

    In two passes, as batch norm.
    """
    return nn.LayerNorm(reduction_axes=axes, use_fast_variance=False)


class Convolution(nn.Module):
    """3x3 convolution, then a shortcut added, then 2x2 average pooling, then normalisation.

    Attributes:
        features: output channels.
        width: of the kernel, in pixels; the input is padded so that its size stays.
        pool: whether to halve the image.
        norm: batch norm; or ``layer``, over height and width of each channel of each image: over
            the channels too, a change of one would reach all of them.
    """

    features: int
    width: int = 3
    pool: bool = False
    norm: Literal["batch", "layer"] = "batch"

    def setup(self) -> None:
        """Create the layers in this module's own scope."""
        window = (self.width, self.width)
        self.convolution = nn.Conv(self.features, window, use_bias=False, kernel_init=he_normal)
        self.normalization = batch_norm() if self.norm == "batch" else layer_norm((-3, -2))
        nn.share_scope(self, self.convolution)
        nn.share_scope(self, self.normalization)

    def __call__(self, x: Array, shortcut: Array | None = None, *, train: bool) -> Array:
        """Apply to images [examples, height, width, channels]."""
        x = self.convolution(x)
        if shortcut is not None:
            x = x + shortcut
        if self.pool:
            x = nn.avg_pool(x, (2, 2), (2, 2))
        return normalize(self.normalization, x, train)


class Dense(nn.Module):
    """Linear layer, then normalisation.

    Attributes:
        features: outputs.
        norm: batch norm, layer norm over the features of each example, or none and a bias.
    """

    features: int
    norm: Norm = "batch"

    def setup(self) -> None:
        """Create the layers in this module's own scope."""
        bare = self.norm == "none"
        self.linear = nn.Dense(self.features, use_bias=bare, kernel_init=he_normal)
        nn.share_scope(self, self.linear)
        if not bare:
            self.normalization = batch_norm() if self.norm == "batch" else layer_norm()
            nn.share_scope(self, self.normalization)

    def __call__(self, x: Array, *, train: bool) -> Array:
        """Apply to [examples, features]."""
        x = self.linear(x)
        return x if self.norm == "none" else normalize(self.normalization, x, train)


def normalize(layer: nn.Module, x: Array, train: bool) -> Array:
    """Apply a normalisation; batch norm by the statistics of ``x`` where ``train`` is set."""
    if isinstance(layer, nn.BatchNorm):
        return layer(x, use_running_average=not train)
    normalized: Array = layer(x)
    return normalized
