"""Networks, as pure functions of their parameters; any Flax module becomes one."""

from rso_jax.networks.functional import Network, loss_of
from rso_jax.networks.linen import from_linen, linen_network
from rso_jax.networks.losses import cross_entropy, zero_one
from rso_jax.networks.mlp import MLP
from rso_jax.networks.models import MODELS, create
from rso_jax.networks.nnx import from_nnx, nnx_network
from rso_jax.networks.paper import PaperCifar10, PaperMnist

__all__ = [
    "MLP",
    "MODELS",
    "Network",
    "PaperCifar10",
    "PaperMnist",
    "create",
    "cross_entropy",
    "from_linen",
    "from_nnx",
    "linen_network",
    "loss_of",
    "nnx_network",
    "zero_one",
]
