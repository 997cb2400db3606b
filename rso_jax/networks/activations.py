"""Activations with steps, and what gradients make of them.

Their derivative is 0 or nothing, so that only evaluations see what they do. For methods that take
gradients all the same, each has a straight-through estimator in place of its derivative (Hinton
2012; Bengio et al., arXiv 1308.3432); a method that takes none never sees it.
"""

from collections.abc import Callable
from functools import cache
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.errors import UserError, check_name
from rso_jax.networks import int8

Activation = Callable[[Array], Array]
ActivationName = Literal["relu", "sign", "int8"]

WINDOW = 1.0


@cache  # one function for each window, as what is compiled for a network is kept by its pieces
def sign(window: float = WINDOW) -> Activation:
    """1 from 0 on and -1 below.

    Args:
        window: a gradient passes as it is where the input is at most so far from 0, and not at all
            elsewhere (the clipped straight-through estimator: Courbariaux et al., arXiv
            1602.02830).

    Raises:
        UserError: a window that is not above 0.
    """
    if not window > 0:
        raise UserError(f"window is {window!r}; it must be above 0")

    @jax.custom_jvp
    def activate(x: Array) -> Array:
        return jnp.where(x >= 0, 1, -1).astype(x.dtype)

    def derive(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
        (x,), (moved,) = primals, tangents
        return activate(x), jnp.where(jnp.abs(x) <= window, moved, 0)

    activate.defjvp(derive)
    return activate


def activation_named(name: str, window: float | None = None) -> Activation:
    """An activation by its name.

    Args:
        name: ``relu``, ``sign`` or ``int8``, a ReLU of 8 bits.
        window: as of ``sign``; 1 if not given.

    Raises:
        UserError: an unknown name, or a window of an activation that has none.
    """
    check_name("activation", name, get_args(ActivationName))
    if name == "sign":
        return sign(WINDOW if window is None else window)
    if window is not None:
        raise UserError(f"window is {window} but it is of activation sign, not of {name}")
    return int8.activate if name == "int8" else jax.nn.relu
