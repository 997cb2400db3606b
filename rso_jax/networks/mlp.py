"""A multilayer perceptron with batch norm."""

from collections.abc import Sequence

import flax.linen as nn
from jax import Array

from rso_jax.networks.layers import Dense


class MLP(nn.Module):
    """Dense layers, each followed by batch norm; ReLU between them.

    Attributes:
        hidden: widths of the hidden layers.
        classes: number of logits.
    """

    hidden: Sequence[int] = (64,)
    classes: int = 10

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True) -> Array:
        """Logits [examples, classes] of inputs [examples, ...].

        Args:
            x: inputs, flattened to one vector per example.
            train: normalise by the statistics of ``x``; otherwise by calibrated ones.
        """
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.hidden, start=1):
            x = nn.relu(Dense(width, name=f"hidden{i}")(x, train=train))
        return Dense(self.classes, name="output")(x, train=train)
