"""The networks that the command line knows by name."""

from collections.abc import Sequence
from functools import cache

import flax.linen as nn

from rso_jax.errors import UserError, check_name
from rso_jax.networks.functional import Network
from rso_jax.networks.linen import linen_network
from rso_jax.networks.mlp import MLP
from rso_jax.networks.paper import PaperCifar10, PaperMnist

MODELS = ("mlp", "paper-mnist", "paper-cifar10")

# Both paper networks pool twice by 2 and the size must survive it; the channel counts are those
# of the data they are meant for, so that the parameter counts of the paper hold.
_IMAGES = {"paper-mnist": (28, 28, 1), "paper-cifar10": (32, 32, 3)}


def create(
    name: str, example_shape: Sequence[int], classes: int, hidden: Sequence[int] = (64,)
) -> Network:
    """A network by name.

    Args:
        name: one of ``MODELS``.
        example_shape: of one input, without the batch axis.
        classes: number of logits.
        hidden: widths of the hidden layers of ``mlp``.

    Raises:
        UserError: an unknown name, a hidden width below 1, or examples of a size that the
            network is not made for.
    """
    check_name("model", name, MODELS)
    wanted = _IMAGES.get(name)
    if wanted is not None and tuple(example_shape) != wanted:
        raise UserError(
            f"model {name} takes images of shape {wanted}, this data has {tuple(example_shape)}; "
            "use --model mlp, which takes any"
        )
    if any(width < 1 for width in hidden):
        raise UserError(f"hidden widths are {tuple(hidden)}; each must be at least 1")
    return _build(name, classes, tuple(hidden))


@cache  # what is compiled for a network serves all who ask for it
def _build(name: str, classes: int, hidden: tuple[int, ...]) -> Network:
    module: nn.Module
    if name == "mlp":
        module = MLP(hidden, classes)
    else:
        module = PaperMnist(classes) if name == "paper-mnist" else PaperCifar10(classes)
    return linen_network(module, searching={"train": True}, evaluating={"train": False})
