"""Search without gradients: ``rso``, and the pieces that it is made of.

What is named here is for users: ``rso`` and the modules of its pieces, which hold functions for
each of its arguments. The other modules are internal and may change.
"""

from rso_jax.leaves import Leaf
from rso_jax.search import acceptance, joint, minibatches, order, presets, proposals, sigma
from rso_jax.search.assembly import rso
from rso_jax.search.interface import Search, State

__all__ = [
    "Leaf",
    "Search",
    "State",
    "acceptance",
    "joint",
    "minibatches",
    "order",
    "presets",
    "proposals",
    "rso",
    "sigma",
]
