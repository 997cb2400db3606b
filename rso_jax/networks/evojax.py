"""The network that EvoJAX evolves on MNIST.

Tang, Tian and Ha, "EvoJAX: Hardware-Accelerated Neuroevolution", arXiv 2202.05008; its layers as in
``evojax/policy/convnet.py`` of github.com/google/evojax. The log-softmax at the end there is left
to the loss.
"""

import flax.linen as nn
from jax import Array


class EvojaxMnist(nn.Module):
    """Two 5x5 convolutions of 8 and 16 filters: 11,274 trained scalars for 28x28x1 images.

    Each is followed by ReLU and 2x2 max pooling; biases, and no normalisation.

    Attributes:
        classes: number of logits.
    """

    classes: int = 10

    @nn.compact
    def __call__(self, x: Array, *, train: bool = True) -> Array:
        """Logits [examples, classes] of images [examples, height, width, channels].

        Args:
            x: images.
            train: as of the other networks; nothing here depends on it.
        """
        del train
        for i, filters in enumerate((8, 16), start=1):
            x = nn.relu(nn.Conv(filters, (5, 5), name=f"conv{i}")(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        return nn.Dense(self.classes, name="dense")(x.reshape(x.shape[0], -1))
