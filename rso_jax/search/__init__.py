"""Search without gradients: small pieces, and the compiled sweep made of them."""

from rso_jax.search.cycle import rso
from rso_jax.search.interface import CycleInfo, Search, State, SweepInfo
from rso_jax.search.leaves import Leaf

__all__ = ["CycleInfo", "Leaf", "Search", "State", "SweepInfo", "rso"]
