"""Positions: a pre-activation moved at one position, at the price of what follows from it alone.

The losses of a column, as a function of its pre-activation z, are staged once more with z as the
leaf: a column of that leaf is one position of every example, so that a move of it costs what that
position can change, a bin of a pool and a share of the logits, say, and not a whole channel.

Where examples meet, as in the statistics of batch norm, what they share is held as the incumbent
has it: no example is answerable for what its move does to the losses of others.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax import Array
from jax.extend.core import ClosedJaxpr, Literal

from rso_jax.incremental import ColumnProgram, ColumnView, Work, column_program, count_work
from rso_jax.incremental.examples_last import axis_of_examples
from rso_jax.incremental.jaxprs import evaluate, evaluate_by, without_calls
from rso_jax.leaves import Shapes
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
    losses_of_one, losses_of_twice = hold_meetings(_losses_of_z(one), _losses_of_z(twice))

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


Function = Callable[..., list[Array]]


def hold_meetings(one: ClosedJaxpr, twice: ClosedJaxpr) -> tuple[Function, Function]:
    """Two functions of what moves, of what it was before, and of others; meetings are as before.

    Examples meet in an operation that makes something of what moves that has no examples any more.

    Args:
        one: function of what moves, and others, for a mini-batch.
        twice: the same for one of twice the size.
    """
    pairs = list(zip(one.jaxpr.eqns, twice.jaxpr.eqns, strict=True))
    same = all(a.primitive is b.primitive for a, b in pairs)
    meetings = _find_meetings(one.jaxpr.invars[0], pairs) if same else []
    ours, theirs = (
        [pair[side] for i, pair in enumerate(pairs) if i in meetings] for side in (0, 1)
    )
    return _hold(one, ours), _hold(twice, theirs)


def _find_meetings(moving: Any, pairs: Sequence[tuple[Any, Any]]) -> list[int]:
    """Places of the operations in which examples meet."""
    dependent, found = {moving}, []
    for i, (eqn, other) in enumerate(pairs):
        operands = list(zip(eqn.invars, other.invars, strict=True))
        moved = [(a, b) for a, b in operands if not isinstance(a, Literal) and a in dependent]
        if not moved:
            continue
        results = zip(eqn.outvars, other.outvars, strict=True)
        owned = any(axis_of_examples(a.aval.shape, b.aval.shape) is not None for a, b in moved)
        if owned and all(a.aval.shape == b.aval.shape for a, b in results):
            found.append(i)
        else:
            dependent.update(eqn.outvars)
    return found


def _hold(traced: ClosedJaxpr, meetings: Sequence[Any]) -> Function:
    made = {id(eqn) for eqn in meetings}

    def function(moving: Array, before: Array, *others: Array) -> list[Array]:
        known: dict[int, Sequence[Array]] = {}

        def remember(eqn: Any, operands: list[Array]) -> Sequence[Array]:
            results = evaluate(eqn, operands)
            if id(eqn) in made:
                known[id(eqn)] = results
            return results

        def hold(eqn: Any, operands: list[Array]) -> Sequence[Array]:
            return known[id(eqn)] if id(eqn) in made else evaluate(eqn, operands)

        if made:
            evaluate_by(remember, traced, (before, *others))
        return evaluate_by(hold, traced, (moving, *others))

    return function
