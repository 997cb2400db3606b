"""Search without gradients: small pieces, and the compiled sweep made of them."""

from rso_jax.search.assembly import rso
from rso_jax.search.interface import Search, State
from rso_jax.search.leaves import Leaf

__all__ = ["Leaf", "Search", "State", "rso"]
