"""Positions: a pre-activation moved at one position, at the price of what follows from it alone.

The losses of a column, as a function of its pre-activation z, are staged once more with z as the
leaf: a column of that leaf is one position of every example, so that a move of it costs what that
position can change, a bin of a pool and a share of the logits, say, and not a whole channel.

Where examples meet, as in the statistics of batch norm, what they share is held as the incumbent
has it: no example is answerable for what its move does to the losses of others.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import jax
from jax import Array
from jax.extend.core import ClosedJaxpr, Literal

from rso_jax.incremental import ColumnProgram, ColumnView, Work, column_program, count_work
from rso_jax.incremental.examples_last import axis_of_examples
from rso_jax.incremental.jaxprs import (
    evaluate,
    evaluate_by,
    function_of,
    leading_to,
    variables,
    without_calls,
)
from rso_jax.leaves import Shapes
from rso_jax.slopes.column import Meeting
from rso_jax.slopes.examples import by_tokens, from_examples

PyTree = Any


class Traced(NamedTuple):
    """A column program for so many examples."""

    program: ColumnProgram
    shapes: Shapes
    """Of what it computes."""
    axes: tuple[int, ...]
    """Of examples in each of its pre-activations."""


class PositionProgram(NamedTuple):
    """The losses of a column as a function of one position of its pre-activation."""

    program: ColumnProgram
    """Whose leaf is z [examples, positions], and whose columns are positions."""

    def move(self, view: ColumnView, weights: Array, z: Array) -> Callable[[Array, Array], Array]:
        """``(position, values [examples]) -> losses [examples, tokens]`` of a column.

        Args:
            view: of the column.
            weights: of the column.
            z: its pre-activation [examples, positions].
        """
        given = (z, view, weights)
        prefix = self.program.prefix((z,), given)

        def losses(position: Array, values: Array) -> Array:
            at = self.program.view((z,), given, position, prefix)
            moved = self.program.preactivation(at, values)
            return by_tokens(self.program.loss(at, values, moved))

        return losses

    def shapes(self, one: Traced) -> tuple[PyTree, ...]:
        """Shapes of what its losses are of, for a column of the program it was made for."""
        (z,), given = _positions(one), (*_positions(one), one.shapes.view, one.shapes.weights)
        values = jax.ShapeDtypeStruct(z.shape[:1], z.dtype)
        at = jax.eval_shape(self.program.view, (z,), given, jax.ShapeDtypeStruct((), "int32"))
        return at, values, jax.eval_shape(self.program.preactivation, at, values)

    def count_work(self, one: Traced) -> Work:
        """The work of one evaluation, for a column of the program it was made for."""
        (z,) = _positions(one)
        given = (z, one.shapes.view, one.shapes.weights)
        prefix = jax.eval_shape(self.program.prefix, (z,), given)

        def evaluate_one(prefix: PyTree, given: PyTree, position: Array, values: Array) -> Array:
            at = self.program.view((given[0],), given, position, prefix)
            return self.program.loss(at, values, self.program.preactivation(at, values))

        values = jax.ShapeDtypeStruct(z.shape[:1], z.dtype)
        position = jax.ShapeDtypeStruct((), "int32")
        return count_work(evaluate_one, prefix, given, position, values)


def position_program(one: Traced, twice: Traced) -> PositionProgram:
    """Stage the losses of a column for each position of its pre-activation.

    Args:
        one: the column program for a mini-batch.
        twice: for one of twice the size, which tells where examples lie.
    """
    examples = _positions(one)[0].shape[0]
    traced, more = _losses_of_z(one), _losses_of_z(twice)
    meetings = find_meetings(traced, more)
    losses_of_one, losses_of_twice = hold(traced, meetings), hold(more, meetings)

    def losses(params: tuple[Array], given: tuple[Array, ColumnView, Array]) -> Array:
        (z,), (before, view, weights) = params, given
        function = losses_of_one if z.shape[0] == examples else losses_of_twice
        (found,) = function(z, before, *jax.tree.leaves((view, weights)))
        return found

    z, twice_z = _positions(one), _positions(twice)
    program = column_program(
        losses,
        z,
        (*z, one.shapes.view, one.shapes.weights),
        0,
        from_incumbent=True,
        twice=(twice_z, (*twice_z, twice.shapes.view, twice.shapes.weights)),
    )
    return PositionProgram(program)


_BEFORE_STATISTICS = frozenset(
    (
        *("add", "convert_element_type", "copy", "div", "integer_pow", "mul", "neg", "reduce_sum"),
        *("reshape", "square", "squeeze", "sub", "transpose", "broadcast_in_dim", "expand_dims"),
        "psum",
    )
)
"""Operations from a pre-activation to its mean or its mean square."""


def find_meeting(one: Traced, twice: Traced) -> Meeting:
    """Where examples meet in what follows from a column's pre-activation; as in the other case."""
    traced = _losses_of_z(one)
    meetings = find_meetings(traced, _losses_of_z(twice))
    if not meetings:
        return "nowhere"
    eqns = traced.jaxpr.eqns
    first = [eqns[i] for i, before in meetings.items() if before == 0]
    ahead = leading_to([v for eqn in first for v in eqn.invars], eqns)
    plain = all(eqn.primitive.name in _BEFORE_STATISTICS for eqn in _following(traced, ahead))
    # The variance is taken around the mean, so there may have been one meeting before.
    return "at once" if plain and max(meetings.values()) <= 1 else "later"


def _following(traced: ClosedJaxpr, eqns: Sequence[Any]) -> list[Any]:
    """Those of some operations that depend on what moves."""
    dependent, found = {traced.jaxpr.invars[0]}, []
    for eqn in eqns:
        if not dependent.isdisjoint(variables(eqn.invars)):
            dependent.update(eqn.outvars)
            found.append(eqn)
    return found


def _positions(traced: Traced) -> tuple[jax.ShapeDtypeStruct]:
    """The shape of z [examples, positions]."""
    arrays, axes = traced.shapes.z, traced.axes
    examples = arrays[0].shape[axes[0]]
    size = sum(a.size for a in arrays) // examples
    return (jax.ShapeDtypeStruct((examples, size), arrays[0].dtype),)


def _losses_of_z(traced: Traced) -> ClosedJaxpr:
    """The losses as a function of z [examples, positions], of the view and of the weights."""
    structs, treedef = jax.tree.flatten((traced.shapes.view, traced.shapes.weights))

    def losses(z: Array, *others: Array) -> Array:
        view, weights = jax.tree.unflatten(treedef, others)
        arrays = from_examples(z, traced.shapes.z, traced.axes)
        return traced.program.loss(view, weights, arrays)

    return without_calls(jax.make_jaxpr(losses)(*_positions(traced), *structs))


def find_meetings(one: ClosedJaxpr, twice: ClosedJaxpr) -> dict[int, int]:
    """Operations in which examples meet, by their place, and how many there were before.

    What they make of what moves, the first argument, has no examples any more.

    Args:
        one: a function for a mini-batch.
        twice: the same for one of twice the size. Where it does something else, none are found.
    """
    pairs = list(zip(one.jaxpr.eqns, twice.jaxpr.eqns, strict=False))
    if [e.primitive for e in one.jaxpr.eqns] != [e.primitive for e in twice.jaxpr.eqns]:
        return {}
    level, found = {one.jaxpr.invars[0]: 0}, {}
    for i, (eqn, other) in enumerate(pairs):
        operands = zip(eqn.invars, other.invars, strict=True)
        moved = [(a, b) for a, b in operands if not isinstance(a, Literal) and a in level]
        if not moved:
            continue
        of_result = max(level[a] for a, _ in moved)
        results = zip(eqn.outvars, other.outvars, strict=True)
        owned = any(axis_of_examples(a.aval.shape, b.aval.shape) is not None for a, b in moved)
        if owned and all(a.aval.shape == b.aval.shape for a, b in results):
            found[i] = of_result
            of_result += 1
        level.update(dict.fromkeys(eqn.outvars, of_result))
    return found


def hold(traced: ClosedJaxpr, meetings: Collection[int]) -> Callable[..., list[Array]]:
    """A function of what moves, of what it was before, and of others; meetings are as before.

    Args:
        traced: function of what moves and of others.
        meetings: places of operations.
    """

    def function(moving: Array, before: Array, *others: Array) -> list[Array]:
        known = results_of(traced, meetings, (before, *others))

        def recall(eqn: Any, operands: list[Array]) -> Sequence[Array]:
            return known[id(eqn)] if id(eqn) in known else evaluate(eqn, operands)

        return evaluate_by(recall, traced, (moving, *others))

    return function


def results_of(
    traced: ClosedJaxpr, places: Collection[int], inputs: Sequence[Array]
) -> dict[int, list[Array]]:
    """Results of some operations of a traced function, by the ``id`` of each.

    Args:
        traced: the function.
        places: of the operations.
        inputs: its arguments.
    """
    jaxpr = traced.jaxpr
    chosen = [jaxpr.eqns[i] for i in places]
    results = [v for eqn in chosen for v in eqn.outvars]
    constants = dict(zip(jaxpr.constvars, traced.consts, strict=True))
    run = function_of(leading_to(results, jaxpr.eqns), jaxpr.invars, results, constants)
    values = dict(zip(results, run(*inputs), strict=True)) if results else {}
    return {id(eqn): [values[v] for v in eqn.outvars] for eqn in chosen}
