"""The two convolutional networks of the paper, as the authors' script builds them.

Both: 3x3 convolutions without bias, batch norm after every convolution, ReLU on the input of
every convolution but the first and none after the last batch norm, global max pooling, a
dense layer without bias.

With ``heads`` every convolution has one, which sees what the next convolution sees: its output
after batch norm, and after the ReLU. The call then returns a dictionary of logits in the order of
the network: ``conv1`` and so on, those of the heads, and ``output``, its own.
"""

from typing import Literal

import flax.linen as nn
from jax import Array

from rso_jax.networks.activations import Activation
from rso_jax.networks.heads import add_head
from rso_jax.networks.layers import Convolution, he_normal


class PaperMnist(nn.Module):
    """Six convolutions of 16 filters: 12,016 trained scalars for 28x28x1 images.

    Pooling after convolutions 2 and 4, before their batch norm.

    Attributes:
        classes: number of logits.
        norm: batch norm as in the paper, or in its place the norm of each image alone.
        heads: bins a side of every convolution's head, 1 to 7; None for no heads.
        activation: in place of the ReLU.
        head_width: channels of a hidden layer in each head; None for none.
    """

    classes: int = 10
    norm: Literal["batch", "layer"] = "batch"
    heads: int | None = None
    activation: Activation = nn.relu
    head_width: int | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True) -> Array | dict[str, Array]:
        """Logits [examples, classes] of images [examples, height, width, channels]."""
        logits: dict[str, Array] = {}
        for i in range(1, 7):
            if i > 1:
                x = self.activation(x)
                add_head(logits, f"conv{i - 1}", x, self.classes, self.heads, self.head_width)
            block = Convolution(16, pool=i in (2, 4), norm=self.norm, name=f"conv{i}")
            x = block(x, train=train)
        dense = nn.Dense(self.classes, use_bias=False, kernel_init=he_normal, name="dense")
        output = dense(x.max(axis=(1, 2)))
        if self.heads is None:
            return output
        add_head(logits, "conv6", self.activation(x), self.classes, self.heads, self.head_width)
        return logits | {"output": output}


class PaperCifar10(nn.Module):
    """Nine convolutions with residual additions: 57,104 trained scalars for 32x32x3 images.

    16 filters in convolutions 1 to 3, 32 in 4 to 9; pooling after 3 and 5. The output of
    convolution 1 (after its batch norm, before the ReLU) is added to that of 3, then 3 to 5,
    5 to 7 and 7 to 9, before pooling and batch norm; a 1x1 convolution with batch norm
    carries it from 16 to 32 channels.

    Attributes:
        classes: number of logits.
        norm: batch norm as in the paper, or in its place the norm of each image alone.
        heads: bins a side of every convolution's head, 1 to 8; None for no heads. The head of a
            convolution that takes a shortcut sees the sum, normalised; the 1x1 convolution on a
            shortcut has none, and shares the loss of the convolution behind.
        activation: in place of the ReLU.
        head_width: channels of a hidden layer in each head; None for none.
    """

    classes: int = 10
    norm: Literal["batch", "layer"] = "batch"
    heads: int | None = None
    activation: Activation = nn.relu
    head_width: int | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True) -> Array | dict[str, Array]:
        """Logits [examples, classes] of images [examples, height, width, channels]."""
        logits: dict[str, Array] = {}
        shortcut = None
        for i in range(1, 10):
            features = 16 if i < 4 else 32
            block = Convolution(features, pool=i in (3, 5), norm=self.norm, name=f"conv{i}")
            if i > 1:
                x = self.activation(x)
                add_head(logits, f"conv{i - 1}", x, self.classes, self.heads, self.head_width)
            if i % 2 == 0:
                x = block(x, train=train)
                continue
            if shortcut is not None and shortcut.shape[-1] != features:
                projection = Convolution(features, width=1, norm=self.norm, name="projection")
                shortcut = projection(shortcut, train=train)
            x = shortcut = block(x, shortcut, train=train)
        dense = nn.Dense(self.classes, use_bias=False, kernel_init=he_normal, name="dense")
        output = dense(x.max(axis=(1, 2)))
        if self.heads is None:
            return output
        add_head(logits, "conv9", self.activation(x), self.classes, self.heads, self.head_width)
        return logits | {"output": output}
