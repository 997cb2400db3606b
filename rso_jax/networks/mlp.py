"""A multilayer perceptron, normalised or not."""

from collections.abc import Sequence

import flax.linen as nn
from jax import Array

from rso_jax.networks.activations import Activation
from rso_jax.networks.heads import add_head
from rso_jax.networks.layers import Dense, Norm


class MLP(nn.Module):
    """Dense layers with an activation between them, ReLU by default.

    Attributes:
        hidden: widths of the hidden layers.
        classes: number of logits.
        norm: ``batch``, batch norm after every layer; ``layer``, layer norm after the hidden ones;
            ``none``. A layer that nothing normalises has a bias, but the last of a head.
        heads: 1 for a head behind every hidden layer and its activation; the call then returns a
            dictionary of logits in the order of the network, ``hidden1`` and so on and ``output``.
            None for no heads.
        activation: between layers; ``rso_jax.networks.activations`` has some with steps.
        inputs: what is done to the inputs first; nothing if not given.
        head_width: of a hidden layer in each head; None for none.
    """

    hidden: Sequence[int] = (64,)
    classes: int = 10
    norm: Norm = "batch"
    heads: int | None = None
    activation: Activation = nn.relu
    inputs: Activation | None = None
    head_width: int | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True) -> Array | dict[str, Array]:
        """Logits [examples, classes] of inputs [examples, ...]; by name with heads.

        Args:
            x: inputs, flattened to one vector per example.
            train: normalise by the statistics of ``x``; otherwise by calibrated ones.
        """
        logits: dict[str, Array] = {}
        x = x.reshape(x.shape[0], -1)
        x = x if self.inputs is None else self.inputs(x)
        for i, width in enumerate(self.hidden, start=1):
            x = self.activation(Dense(width, self.norm, name=f"hidden{i}")(x, train=train))
            add_head(logits, f"hidden{i}", x, self.classes, self.heads, self.head_width)
        # Logits of one length for every example would say nothing of how sure the network is.
        norm: Norm = "none" if self.norm == "layer" else self.norm
        output = Dense(self.classes, norm, name="output")(x, train=train)
        return output if self.heads is None else logits | {"output": output}
