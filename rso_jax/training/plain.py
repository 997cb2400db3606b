"""Arrays in types that numpy knows by itself, and back: what a file may hold that others read.

The floating-point types below 16 bits and bfloat16 are kept as float32 and the integers below 8
bits as such of 8, both exactly; a typed PRNG key as its data.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from rso_jax.errors import UserError


def plain(array: Any, name: str) -> NDArray[Any]:
    """An array of the host with the same values.

    Args:
        array: of any type of JAX, or a number.
        name: to speak of it.

    Raises:
        UserError: something that is no array.
    """
    if is_key(array):
        return np.asarray(jax.random.key_data(array))
    host = np.asarray(array)
    kind = _kind(host.dtype)
    if kind is None:
        raise UserError(f"{name} is a {type(array).__name__}; only arrays can be saved")
    if host.dtype.isbuiltin == 1:
        return host
    return host.astype({"floating": np.float32, "signed": np.int8, "unsigned": np.uint8}[kind])


def plain_shape(like: Any) -> tuple[int, ...]:
    """The shape that ``plain`` gives to arrays of the shape and type of ``like``."""
    if is_key(like):
        return jax.eval_shape(jax.random.key_data, like).shape
    return np.shape(like)


def typed(stored: NDArray[Any], like: Any, name: str) -> Any:
    """The array that ``plain`` was given.

    Args:
        stored: what it gave.
        like: an array, or its shape and type.
        name: to speak of it.

    Raises:
        UserError: values that the type of ``like`` does not hold.
    """
    if is_key(like):
        if stored.dtype != np.uint32:
            raise UserError(f"{name} is {stored.dtype} in the file, a PRNG key in the network")
        return jax.random.wrap_key_data(jnp.asarray(stored), impl=_implementation(like))
    dtype = np.dtype(jnp.result_type(like))
    integers = ("signed", "unsigned")
    kinds = ["integer" if k in integers else k for k in (_kind(stored.dtype), _kind(dtype))]
    if kinds[0] == kinds[1] is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            found = stored.astype(dtype)
            same = found.astype(stored.dtype)
        if np.array_equal(same, stored, equal_nan=kinds[0] in ("floating", "complex")):
            return found
    raise UserError(
        f"{name} is {stored.dtype} in the file, with values that {dtype}, its type in the network, "
        "does not hold; pass the settings it was trained with"
    )


def is_key(array: Any) -> bool:
    """Whether it is a typed PRNG key, or several."""
    return jnp.issubdtype(getattr(array, "dtype", np.float32), jax.dtypes.prng_key)


def _implementation(like: Any) -> Any:
    """Of a key of which perhaps the type alone is known."""
    found = []
    jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), like)
    return found[0]


def _kind(dtype: np.dtype[Any]) -> str | None:
    """Of numbers, also in types that only JAX has; None of anything else."""
    for name, kind in (
        ("bool", jnp.bool_),
        ("signed", jnp.signedinteger),
        ("unsigned", jnp.unsignedinteger),
        ("floating", jnp.floating),
        ("complex", jnp.complexfloating),
    ):
        if jnp.issubdtype(dtype, kind):
            return name
    return None
