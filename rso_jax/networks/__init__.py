"""Networks, as pure functions of their parameters; any Flax module becomes one."""

from rso_jax.networks import readouts
from rso_jax.networks.evojax import EvojaxMnist
from rso_jax.networks.functional import Network, loss_of
from rso_jax.networks.heads import Head
from rso_jax.networks.layers import Norm
from rso_jax.networks.linen import from_linen, linen_network
from rso_jax.networks.losses import cross_entropy, zero_one
from rso_jax.networks.mlp import MLP
from rso_jax.networks.models import MODELS, NORMS, create
from rso_jax.networks.nnx import from_nnx, nnx_network
from rso_jax.networks.paper import PaperCifar10, PaperMnist
from rso_jax.networks.transformer import Transformer

__all__ = [
    "MLP",
    "MODELS",
    "NORMS",
    "EvojaxMnist",
    "Head",
    "Network",
    "Norm",
    "PaperCifar10",
    "PaperMnist",
    "Transformer",
    "create",
    "cross_entropy",
    "from_linen",
    "from_nnx",
    "linen_network",
    "loss_of",
    "nnx_network",
    "readouts",
    "zero_one",
]
