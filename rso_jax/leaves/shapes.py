"""Shapes and types of what a column program computes, before it computes anything."""

from typing import Any, NamedTuple

import jax

from rso_jax.incremental import ColumnProgram, ColumnView
from rso_jax.leaves.leaf import Leaf

PyTree = Any


class Shapes(NamedTuple):
    """Shapes and types of what a program computes for a column."""

    view: ColumnView
    weights: Any
    z: PyTree
    loss: Any


def shapes_of(program: ColumnProgram, params: PyTree, batch: PyTree, leaf: Leaf) -> Shapes:
    """Shapes of what a program computes; arrays are ``jax.ShapeDtypeStruct``."""
    index = jax.ShapeDtypeStruct((), "int32")
    weights = jax.ShapeDtypeStruct(leaf.form[:-1], leaf.dtype)
    view = jax.eval_shape(program.view, params, batch, index)
    z = jax.eval_shape(program.preactivation, view, weights)
    return Shapes(view, weights, z, jax.eval_shape(program.loss, view, weights, z))
