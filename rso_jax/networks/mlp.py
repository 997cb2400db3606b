"""A multilayer perceptron, normalised or not."""

from collections.abc import Sequence

import flax.linen as nn
from jax import Array

from rso_jax.networks.layers import Dense, Norm


class MLP(nn.Module):
    """Dense layers with ReLU between them.

    Attributes:
        hidden: widths of the hidden layers.
        classes: number of logits.
        norm: ``batch``, batch norm after every layer; ``layer``, layer norm after the hidden ones;
            ``none``. A layer that nothing normalises has a bias.
    """

    hidden: Sequence[int] = (64,)
    classes: int = 10
    norm: Norm = "batch"

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True) -> Array:
        """Logits [examples, classes] of inputs [examples, ...].

        Args:
            x: inputs, flattened to one vector per example.
            train: normalise by the statistics of ``x``; otherwise by calibrated ones.
        """
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.hidden, start=1):
            x = nn.relu(Dense(width, self.norm, name=f"hidden{i}")(x, train=train))
        # Logits of one length for every example would say nothing of how sure the network is.
        norm: Norm = "none" if self.norm == "layer" else self.norm
        return Dense(self.classes, norm, name="output")(x, train=train)
