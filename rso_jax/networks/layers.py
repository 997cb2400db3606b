"""Layers of the paper's networks: a linear map without bias, then batch normalisation.

Both keep their arrays side by side (``kernel``, ``scale``, ``bias``), so that the pytree has
one node per layer.
"""

import flax.linen as nn
from jax import Array

# N(0, sqrt(2 / fan_in)), untruncated, as in the paper (section 3).
he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def batch_norm() -> nn.BatchNorm:
    """Batch normalisation whose running statistics are those of the last batch seen.

    Momentum 0, because statistics come from ``calibrate`` and not from training; the
    two-pass variance, because E[x^2] - E[x]^2 loses digits and search compares losses that
    differ in the last ones.
    """
    return nn.BatchNorm(momentum=0.0, use_fast_variance=False)


class Convolution(nn.Module):
    """3x3 convolution, then a shortcut added, then 2x2 average pooling, then batch norm.

    Attributes:
        features: output channels.
        width: of the kernel, in pixels; the input is padded so that its size stays.
        pool: whether to halve the image.
    """

    features: int
    width: int = 3
    pool: bool = False

    def setup(self) -> None:
        """Create the layers in this module's own scope."""
        window = (self.width, self.width)
        self.convolution = nn.Conv(self.features, window, use_bias=False, kernel_init=he_normal)
        self.normalization = batch_norm()
        nn.share_scope(self, self.convolution)
        nn.share_scope(self, self.normalization)

    def __call__(self, x: Array, shortcut: Array | None = None, *, train: bool) -> Array:
        """Apply to images [examples, height, width, channels]."""
        x = self.convolution(x)
        if shortcut is not None:
            x = x + shortcut
        if self.pool:
            x = nn.avg_pool(x, (2, 2), (2, 2))
        return self.normalization(x, use_running_average=not train)


class Dense(nn.Module):
    """Linear layer without bias, then batch norm.

    Attributes:
        features: outputs.
    """

    features: int

    def setup(self) -> None:
        """Create the layers in this module's own scope."""
        self.linear = nn.Dense(self.features, use_bias=False, kernel_init=he_normal)
        self.normalization = batch_norm()
        nn.share_scope(self, self.linear)
        nn.share_scope(self, self.normalization)

    def __call__(self, x: Array, *, train: bool) -> Array:
        """Apply to [examples, features]."""
        return self.normalization(self.linear(x), use_running_average=not train)
