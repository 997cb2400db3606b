"""JAX's strict settings, lifted for what a library computes."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax


@contextmanager
def leniency() -> Iterator[None]:
    """Inside, ranks and types are promoted as usual, and NaN is no error.

    Optax divides by powers of integers, and evosax adds vectors to matrices and begins with NaN:
    the user's loss can be held to strict settings, they cannot.
    """
    with (
        jax.numpy_rank_promotion("allow"),
        jax.numpy_dtype_promotion("standard"),
        jax.debug_nans(False),
    ):
        yield
