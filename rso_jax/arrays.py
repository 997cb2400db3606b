"""What JAX knows of an array without its values: shape, type, and whether the type is weak.

A number of Python's has a weak type, which gives way to that of whatever it meets: 1.5 times a
bfloat16 array is bfloat16. As an array it keeps that, as long as nobody makes it anew.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

PyTree = Any


def struct_of(array: Any) -> jax.ShapeDtypeStruct:
    """Shape and type, weak as it is, of an array, a number or a ``jax.ShapeDtypeStruct``."""
    known = array if isinstance(array, jax.ShapeDtypeStruct) else jax.typeof(array)
    return jax.ShapeDtypeStruct(known.shape, known.dtype, weak_type=known.weak_type)


def structs_of(tree: PyTree) -> PyTree:
    """``struct_of`` every leaf."""
    return jax.tree.map(struct_of, tree)


def one_of_stack(stack: PyTree) -> PyTree:
    """Shapes and types of an entry of stacks [M, ...]."""

    def one(array: Any) -> jax.ShapeDtypeStruct:
        known = struct_of(array)
        return jax.ShapeDtypeStruct(known.shape[1:], known.dtype, weak_type=known.weak_type)

    return jax.tree.map(one, stack)


def weak_as(like: PyTree, tree: PyTree) -> PyTree:
    """The same values, of weak type wherever ``like``, a tree of the same structure, is.

    Args:
        like: arrays or ``jax.ShapeDtypeStruct``.
        tree: arrays.
    """
    return jax.tree.map(lambda a, b: _weak(b) if struct_of(a).weak_type else b, like, tree)


def _weak(array: Array) -> Array:
    """Weak types are those of Python's numbers; arrays of other types stay what they are."""
    for kind, zero in ((jnp.floating, 0.0), (jnp.integer, 0), (jnp.complexfloating, 0j)):
        if jnp.issubdtype(array.dtype, kind):
            zeros = jnp.full(array.shape, zero)
            return zeros.at[...].set(array) if zeros.dtype == array.dtype else array
    return array
