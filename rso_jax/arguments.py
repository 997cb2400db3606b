"""Checks of what the functions of any method are given, each before any work starts."""

from numbers import Integral, Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rso_jax.arrays import kind_of
from rso_jax.errors import UserError


def check_callable(what: str, value: Any) -> None:
    """Refuse what cannot be called.

    Raises:
        UserError: names it.
    """
    if not callable(value):
        raise UserError(f"{what} is {kind_of(value)}; pass a function")


def check_type(what: str, value: Any, kind: type, made_by: str) -> None:
    """Refuse a value of another type.

    Raises:
        UserError: with what makes one.
    """
    if not isinstance(value, kind):
        raise UserError(f"{what} is {kind_of(value)}; pass what {made_by}")


def check_key(key: Any) -> None:
    """Refuse what is no PRNG key.

    Raises:
        UserError: with how to make one.
    """
    if isinstance(key, jax.Array | np.ndarray):
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        if (typed and key.shape == ()) or (key.dtype == np.uint32 and key.ndim == 1):
            return
        raise UserError(
            f"the key is an array of shape {key.shape} and type {key.dtype}; pass one key, as "
            "jax.random.key(0) makes"
        )
    raise UserError(f"the key is {kind_of(key)}; pass one that jax.random.key(0) makes")


def check_visits(
    stage: str, visits: int, start: Any, stop: Any, fewest: int = 0
) -> tuple[int, int]:
    """The bounds of some visits of a stage, as Python's numbers.

    Args:
        stage: its name.
        visits: that it has.
        start: first visit.
        stop: one past the last.
        fewest: visits that can be made.

    Raises:
        UserError: they are no whole numbers, or none of its visits.
    """
    whole = all(isinstance(n, Integral) and not isinstance(n, bool) for n in (start, stop))
    if not whole or not 0 <= start <= stop - fewest <= visits - fewest:
        first, last = (str(n) if isinstance(n, Real) else kind_of(n) for n in (start, stop))
        between = "<" if fewest else "<="
        raise UserError(
            f"visits {first} to {last} of {stage}, which has {visits}; pass whole numbers, "
            f"0 <= start {between} stop <= {visits}"
        )
    return int(start), int(stop)
