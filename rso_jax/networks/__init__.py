"""Networks, as pure functions of their parameters; any Flax module becomes one."""

from rso_jax.networks import readouts
from rso_jax.networks.decisions import auc, cost_matrix, f1, false_alarms, top_k
from rso_jax.networks.evojax import EvojaxMnist
from rso_jax.networks.functional import Network, loss_of
from rso_jax.networks.heads import Head
from rso_jax.networks.layers import Norm
from rso_jax.networks.linen import from_linen, linen_network
from rso_jax.networks.losses import cross_entropy, zero_one
from rso_jax.networks.margins import hinge, lexicographic, margin
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
    "auc",
    "cost_matrix",
    "create",
    "cross_entropy",
    "f1",
    "false_alarms",
    "from_linen",
    "from_nnx",
    "hinge",
    "lexicographic",
    "linen_network",
    "loss_of",
    "margin",
    "nnx_network",
    "readouts",
    "top_k",
    "zero_one",
]
