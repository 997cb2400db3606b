"""The two convolutional networks of the paper, as the authors' script builds them.

Both: 3x3 convolutions without bias, batch norm after every convolution, ReLU on the input of
every convolution but the first and none after the last batch norm, global max pooling, a
dense layer without bias.
"""

from typing import Literal

import flax.linen as nn
from jax import Array

from rso_jax.networks.layers import Convolution, he_normal


class PaperMnist(nn.Module):
    """Six convolutions of 16 filters: 12,016 trained scalars for 28x28x1 images.

    Pooling after convolutions 2 and 4, before their batch norm.

    Attributes:
        classes: number of logits.
        norm: batch norm as in the paper, or in its place the norm of each image alone.
    """

    classes: int = 10
    norm: Literal["batch", "layer"] = "batch"

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True) -> Array:
        """Logits [examples, classes] of images [examples, height, width, channels]."""
        for i in range(1, 7):
            x = nn.relu(x) if i > 1 else x
            block = Convolution(16, pool=i in (2, 4), norm=self.norm, name=f"conv{i}")
            x = block(x, train=train)
        x = x.max(axis=(1, 2))
        return nn.Dense(self.classes, use_bias=False, kernel_init=he_normal, name="dense")(x)


class PaperCifar10(nn.Module):
    """Nine convolutions with residual additions: 57,104 trained scalars for 32x32x3 images.

    16 filters in convolutions 1 to 3, 32 in 4 to 9; pooling after 3 and 5. The output of
    convolution 1 (after its batch norm, before the ReLU) is added to that of 3, then 3 to 5,
    5 to 7 and 7 to 9, before pooling and batch norm; a 1x1 convolution with batch norm
    carries it from 16 to 32 channels.

    Attributes:
        classes: number of logits.
        norm: batch norm as in the paper, or in its place the norm of each image alone.
    """

    classes: int = 10
    norm: Literal["batch", "layer"] = "batch"

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True) -> Array:
        """Logits [examples, classes] of images [examples, height, width, channels]."""
        shortcut = None
        for i in range(1, 10):
            features = 16 if i < 4 else 32
            block = Convolution(features, pool=i in (3, 5), norm=self.norm, name=f"conv{i}")
            x = nn.relu(x) if i > 1 else x
            if i % 2 == 0:
                x = block(x, train=train)
                continue
            if shortcut is not None and shortcut.shape[-1] != features:
                projection = Convolution(features, width=1, norm=self.norm, name="projection")
                shortcut = projection(shortcut, train=train)
            x = shortcut = block(x, shortcut, train=train)
        x = x.max(axis=(1, 2))
        return nn.Dense(self.classes, use_bias=False, kernel_init=he_normal, name="dense")(x)
