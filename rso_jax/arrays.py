"""What is an array to JAX, and what it knows of one: shape, type, and whether the type is weak.

A number of Python's has a weak type, which gives way to that of whatever it meets: 1.5 times a
bfloat16 array is bfloat16. As an array it keeps that, as long as nobody makes it anew.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rso_jax.errors import UserError

PyTree = Any


def kind_of(value: Any) -> str:
    """What a value is, in a few words."""
    if isinstance(value, str):
        return f"the string {value!r}"
    if isinstance(value, np.ndarray | np.generic):
        return f"a NumPy array of type {value.dtype}"
    if isinstance(value, type):
        return f"the type {value.__name__}"
    if callable(value):
        return f"a function ({getattr(value, '__name__', type(value).__name__)})"
    return f"{'an' if type(value).__name__[0] in 'aeiouAEIOU' else 'a'} {type(value).__name__}"


def check_arrays(what: str, tree: PyTree) -> None:
    """Refuse a pytree with a leaf that is no array of numbers, booleans or PRNG keys.

    Args:
        what: name of the pytree.
        tree: whose leaves may be arrays of JAX or NumPy, numbers, or ``jax.ShapeDtypeStruct``.

    Raises:
        UserError: names the first leaf that is not.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not is_array(leaf):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise UserError(
                f"{what}{' ' + name if name else ''} is {kind_of(leaf)}; every leaf must be an "
                "array or a number: keep anything else out of the pytree and in the loss itself "
                "(of an Equinox module: params, rest = eqx.partition(module, eqx.is_array))"
            )


def is_array(leaf: Any) -> bool:
    """Whether JAX takes a value for an array of numbers, booleans or PRNG keys."""
    if isinstance(leaf, bool | float | complex):
        return True
    if isinstance(leaf, int):
        return np.can_cast(np.min_scalar_type(leaf), jnp.result_type(int), "same_kind") and (
            abs(leaf) <= np.iinfo(jnp.result_type(int)).max
        )
    if not isinstance(leaf, np.ndarray | np.generic | jax.Array | jax.ShapeDtypeStruct):
        # Arrays of other libraries turn into NumPy's.
        if isinstance(leaf, str | bytes | type) or not hasattr(leaf, "__array__"):
            return hasattr(leaf, "__jax_array__")
        leaf = np.asarray(leaf)
    kinds = jnp.number, jnp.bool_, jax.dtypes.prng_key
    return any(jnp.issubdtype(leaf.dtype, kind) for kind in kinds)


def struct_of(array: Any) -> jax.ShapeDtypeStruct:
    """Shape and type, weak as it is, of an array, a number or a ``jax.ShapeDtypeStruct``."""
    known = array if isinstance(array, jax.ShapeDtypeStruct) else jax.typeof(array)
    return jax.ShapeDtypeStruct(known.shape, known.dtype, weak_type=known.weak_type)


def structs_of(tree: PyTree) -> PyTree:
    """``struct_of`` every leaf."""
    return jax.tree.map(struct_of, tree)


def weak_as(like: PyTree, tree: PyTree) -> PyTree:
    """The same values, of weak type wherever ``like``, a tree of the same structure, is.

    Args:
        like: arrays or ``jax.ShapeDtypeStruct``.
        tree: arrays.
    """
    return jax.tree.map(lambda a, b: _weak(b) if struct_of(a).weak_type else b, like, tree)


@jax.jit
def _weak(array: Array) -> Array:
    """Weak types are those of Python's numbers; arrays of other types stay what they are."""
    for kind, zero in ((jnp.floating, 0.0), (jnp.integer, 0), (jnp.complexfloating, 0j)):
        if jnp.issubdtype(array.dtype, kind):
            zeros = jnp.full(array.shape, zero)
            return zeros.at[...].set(array) if zeros.dtype == array.dtype else array
    return array
