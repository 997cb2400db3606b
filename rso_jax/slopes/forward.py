"""The forward pass: what the losses are computed from, once for all leaves.

The losses are traced once. What depends on a leaf is then a function of that leaf and of known
arrays, those of the forward pass that it does not reach: an estimate computes these once, whatever
leaves they are for, and a leaf's columns are staged without looking at all the others' operations.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import ClosedJaxpr

from rso_jax.arrays import structs_of
from rso_jax.incremental.convolution_forms import with_fast_convolutions
from rso_jax.incremental.jaxprs import (
    function_of,
    jaxpr_of,
    leading_to,
    structs_of_variables,
    variables,
    without_calls,
)
from rso_jax.leaves import split_losses

PyTree = Any


class Forward(NamedTuple):
    """All losses, traced for the shapes of some parameters and of a mini-batch."""

    traced: ClosedJaxpr
    """Of flattened parameters and mini-batch; nothing is wrapped in calls."""
    names: tuple[str, ...]
    """Of its results, the losses."""


class Part(NamedTuple):
    """What of a loss depends on one leaf."""

    eqns: list[Any]
    leaf: Any
    """Variable."""
    takes: list[Any]
    """Variables of the forward pass that are known before."""
    gives: Any
    """Variable of the loss."""
    constants: dict[Any, Array]
    """By variable."""

    def known(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Shapes and types of what it takes."""
        return structs_of_variables(self.takes)

    def losses(self, params: tuple[Array], known: tuple[Array, ...]) -> Array:
        """The losses from the leaf, alone in a tuple, and what is known."""
        run = function_of(self.eqns, [self.leaf, *self.takes], [self.gives], self.constants)
        (found,) = run(*params, *known)
        return found


def trace_forward(losses_fn: Any, params: PyTree, batch: PyTree) -> Forward:
    """Trace all losses; arrays or ``jax.ShapeDtypeStruct``."""
    names: list[str] = []

    def losses(params: PyTree, batch: PyTree) -> list[Array]:
        found = split_losses(losses_fn(params, batch))
        names[:] = found
        # A loss that is a number, or one of the arguments, is a variable of its own.
        return [
            jnp.asarray(loss) + jnp.zeros((), jnp.asarray(loss).dtype) for loss in found.values()
        ]

    traced = jax.make_jaxpr(losses)(*structs_of((params, batch)))
    return Forward(without_calls(traced), tuple(names))


def part_of_leaf(forward: Forward, position: int, name: str) -> Part:
    """What of the loss of this name depends on the leaf at this place of the parameters."""
    jaxpr = forward.traced.jaxpr
    leaf, gives = jaxpr.invars[position], jaxpr.outvars[forward.names.index(name)]
    dependent = {leaf}
    eqns = []
    for eqn in jaxpr.eqns:
        if not dependent.isdisjoint(variables(eqn.invars)):
            dependent.update(eqn.outvars)
            eqns.append(eqn)
    kept = leading_to([gives], eqns)
    constants = dict(zip(jaxpr.constvars, forward.traced.consts, strict=True))
    used = dict.fromkeys(v for eqn in kept for v in variables(eqn.invars))
    used |= dict.fromkeys([gives])
    return Part(
        eqns=kept,
        leaf=leaf,
        takes=[v for v in used if v not in dependent and v not in constants],
        gives=gives,
        constants={v: constants[v] for v in used if v in constants},
    )


def run_forward(
    forward: Forward, params: PyTree, batch: PyTree, parts: Sequence[Part]
) -> tuple[dict[str, Array], list[tuple[Array, ...]]]:
    """The losses by name, and what each of some parts takes."""
    jaxpr = forward.traced.jaxpr
    wanted = list(dict.fromkeys([*jaxpr.outvars, *(v for part in parts for v in part.takes)]))
    needed = jaxpr_of(leading_to(wanted, jaxpr.eqns), jaxpr.invars, wanted, jaxpr.constvars)
    fast = with_fast_convolutions(ClosedJaxpr(needed, forward.traced.consts))
    constants = dict(zip(fast.jaxpr.constvars, fast.consts, strict=True))
    run = function_of(fast.jaxpr.eqns, fast.jaxpr.invars, fast.jaxpr.outvars, constants)
    found = run(*jax.tree.leaves((params, batch)))
    values = dict(zip(wanted, found, strict=True))
    losses = {name: values[v] for name, v in zip(forward.names, jaxpr.outvars, strict=True)}
    return losses, [tuple(values[v] for v in part.takes) for part in parts]
