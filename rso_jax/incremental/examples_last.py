"""Layout: a traced function rewritten to hold examples along the last axis of its arrays.

Arrays inside a candidate are often long along examples and short along all others: one channel, ten
classes. A processor works on what lies together in memory, so these are held with their examples
last, wherever that is all the same to an operation. Others get them as they were.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import ClosedJaxpr, Literal

from rso_jax.incremental.held import Held, turned
from rso_jax.incremental.held_rules import HELD_RULES
from rso_jax.incremental.jaxprs import evaluate, variables, without_calls


def hold_examples_last(
    traced: ClosedJaxpr, twice: ClosedJaxpr, known: int, ahead: int, arguments: int
) -> ClosedJaxpr | None:
    """The function with examples last in all that depends on more than what is known at first.

    Args:
        traced: the function.
        twice: the same for twice the examples, which tells where these lie.
        known: how many of its first arguments are known at first.
        ahead: how many are before a candidate is.
        arguments: how many of its last ones are held so too; and so are all its results but one.

    Returns:
        None where the two traces differ in more than sizes, or most of what is computed is longer
        along another last axis than along examples.
    """
    traced, twice = without_calls(traced), without_calls(twice)
    axes = _example_axes(traced, twice)
    if axes is None or not _worth_it(traced, axes, known):
        return None
    jaxpr = traced.jaxpr
    plain_until = len(jaxpr.invars) - arguments

    def function(*given: Array) -> list[Array]:
        constants = zip(jaxpr.constvars, traced.consts, strict=True)
        held = {v: Held(None, known=True, ahead=True, plain=c) for v, c in constants}
        for i, (v, array) in enumerate(zip(jaxpr.invars, given, strict=True)):
            form = "last" if i >= plain_until and axes[v] is not None else "plain"
            held[v] = Held(axes[v], known=i < known, ahead=i < ahead, **{form: array})
        for eqn in jaxpr.eqns:
            operands = [_read(held, atom) for atom in eqn.invars]
            first, before = (all(one.known for one in operands), all(one.ahead for one in operands))
            found = None if first or not eqn.outvars else _hold_result(eqn, operands, axes)
            if found is None:
                # As it was: a rule has nothing to say, or would only move examples.
                arrays = evaluate(eqn, [one.plain() for one in operands])
                if eqn.primitive.name == "dot_general" and arrays[0].dtype.itemsize >= 4:
                    # XLA folds a transposition of the result into the product, which then reads
                    # its operands crosswise: with ten outputs that takes twenty times as long.
                    # Of narrow types it keeps what follows from a product unrounded, as of bfloat16
                    # probes need it.
                    arrays = jax.lax.optimization_barrier(arrays)
                for v, array in zip(eqn.outvars, arrays, strict=True):
                    # Slices of one image are cut out of one that has its examples last.
                    cut = eqn.primitive.name == "slice" and axes[v] is not None
                    last = partial(HELD_RULES["slice"], eqn, operands, axes[v]) if cut else None
                    held[v] = Held(axes[v], known=first, ahead=before, plain=array, last=last)
            else:
                held[eqn.outvars[0]] = found
        result, *others = (_read(held, atom) for atom in jaxpr.outvars)
        return [result.plain(), *(one.last() for one in others)]

    def shape_of(v: Any, is_last: bool) -> jax.ShapeDtypeStruct:
        axis = axes[v] if is_last else None
        shape = turned(v.aval.shape, axis)
        return jax.ShapeDtypeStruct(shape, v.aval.dtype, weak_type=v.aval.weak_type)

    shapes = [shape_of(v, i >= plain_until) for i, v in enumerate(jaxpr.invars)]
    return jax.make_jaxpr(function)(*shapes)


def _worth_it(traced: ClosedJaxpr, axes: dict[Any, int | None], known: int) -> bool:
    """Whether most elements are in arrays that are longer along examples than along the last axis.

    A product for each example is done as it was, so its elements count among the others.
    """
    dependent: set[Any] = set(traced.jaxpr.invars[known:])
    longer = 0
    for eqn in traced.jaxpr.eqns:
        if not dependent.intersection(variables(eqn.invars)):
            continue
        dependent.update(eqn.outvars)
        products = eqn.primitive.name == "dot_general" and any(eqn.params["dimension_numbers"][1])
        for v in eqn.outvars:
            shape, axis = v.aval.shape, axes[v]
            if axis is not None and axis != len(shape) - 1:
                better = shape[axis] > shape[-1] and not products
                longer += math.prod(shape) if better else -math.prod(shape)
    return longer > 0


def _read(held: dict[Any, Held], atom: Any) -> Held:
    constant = isinstance(atom, Literal)
    if not constant:
        return held[atom]
    return Held(None, known=True, ahead=True, plain=jnp.asarray(atom.val, atom.aval.dtype))


def _example_axes(traced: ClosedJaxpr, twice: ClosedJaxpr) -> dict[Any, int | None] | None:
    """For each variable the one axis that doubles with the examples; None if nothing is certain."""
    one, two = traced.jaxpr, twice.jaxpr
    if [e.primitive.name for e in one.eqns] != [e.primitive.name for e in two.eqns]:
        return None
    pairs: list[tuple[Any, Any]] = list(zip(one.invars, two.invars, strict=True))
    pairs += zip(one.constvars, two.constvars, strict=False)
    for a, b in zip(one.eqns, two.eqns, strict=True):
        pairs += zip(a.outvars, b.outvars, strict=True)
    return {v: axis_of_examples(v.aval.shape, w.aval.shape) for v, w in pairs}


def axis_of_examples(one: Sequence[int], two: Sequence[int]) -> int | None:
    """The one axis of a shape that is twice as long for twice the examples; None where none is."""
    grown = [i for i, (m, n) in enumerate(zip(one, two, strict=False)) if m != n]
    return grown[0] if len(grown) == 1 and 2 * one[grown[0]] == two[grown[0]] else None


def _hold_result(eqn: Any, operands: list[Held], axes: dict[Any, int | None]) -> Held | None:
    """The result of an equation from operands with their examples last.

    Args:
        eqn: the equation, which depends on more than what is known at first.
        operands: of it.
        axes: of examples, by variable.

    Returns:
        None where it has to be computed as it was.
    """
    name, axis = eqn.primitive.name, axes[eqn.outvars[0]]
    apart = name == "broadcast_in_dim" or any(one.axis is not None for one in operands)
    if name not in HELD_RULES or not apart:
        return None
    array = HELD_RULES[name](eqn, operands, axis)
    if array is None:
        return None
    if axis is None:
        return Held(axis, known=False, ahead=all(one.ahead for one in operands), plain=array)
    if not all(one.ahead for one in operands):
        return Held(axis, known=False, last=array)

    def as_it_was() -> Array:
        (found,) = evaluate(eqn, [one.plain() for one in operands])
        return found

    return Held(axis, known=False, ahead=True, plain=as_it_was, last=array)
