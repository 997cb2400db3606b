"""Randomness of training: which key draws what. All of it follows from the seed and the cycle.

=====================  =====================================================================
initial parameters     ``of_initial_parameters(seed)``
state of the method    ``of_method(seed)``
a cycle of the method  ``of_cycle(seed, cycle)``; what it draws from it is the method's concern
mini-batches           ``generator(seed, cycle)``, NumPy's
=====================  =====================================================================

A run that goes on in cycle c draws what it would have drawn without interruption: nothing is
carried from cycle to cycle. Cycles are counted from 0.
"""

import jax
import numpy as np
from jax import Array


def of_initial_parameters(seed: int) -> Array:
    """The key that ``task.init`` is given."""
    return jax.random.fold_in(jax.random.key(seed), 0)


def of_method(seed: int) -> Array:
    """The key that ``method.init`` is given."""
    return jax.random.fold_in(jax.random.key(seed), 1)


def of_cycle(seed: int, cycle: int) -> Array:
    """The key that a method is given in a cycle, by which it orders, prepares and perturbs."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 2), cycle)


def generator(seed: int, cycle: int) -> np.random.Generator:
    """The generator that ``task.batches`` is given in a cycle."""
    return np.random.default_rng([seed, cycle])
