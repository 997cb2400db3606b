"""Probes: how the slopes of a column's weights are learned from evaluations of the loss.

A probe is a piece: a pure function ``(key, column) -> slopes`` of one column, together with what it
costs. A weight probe moves one weight; a node probe moves a pre-activation of every example at
once, each by a sign of its own, and credits it with that example's own loss. An evaluation gives as
many numbers as there are losses credited on their own; the slopes of all weights of the column
follow from them by the linear transpose of weights to pre-activations.

Node perturbation: Ren et al., "Scaling Forward Gradient With Local Losses", arXiv 2210.03310; here
without forward derivatives.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax.numpy as jnp
from jax import Array

from rso_jax.errors import UserError
from rso_jax.slopes.column import Column, Size, finite, spread
from rso_jax.slopes.credit import Credit, slopes_at, slopes_of_z, with_common
from rso_jax.slopes.signs import draw_signs, unpack_signs

Positions = Literal["each", "together"]
"""Whether the positions of an example are moved one at a time, or at once."""

LONGEST = 5.0
"""Root mean square of a pre-activation from which on its moves are no longer."""
MOVE, MOVE_ALONE = 1e-2, 1 / 3000
"""Of a weight where no size is given, and of one that is a column by itself."""

Moves = Literal["weights", "nodes", "positions"]
"""What an evaluation moves: one weight, the pre-activation of a column, or that at one position."""


class Probes(NamedTuple):
    """A way to probe."""

    moves: Callable[[Size], Moves]
    """What is moved of a column of this size."""
    evaluations: Callable[[Size], int | None]
    """Evaluations of the loss for a column; None where this way cannot be gone."""
    slopes: Callable[[Array | None, Column], Array]
    """``(drawn, column)``: the slopes of the mean loss by what is moved: by the weights [height],
    or by the pre-activation [examples, positions], which those of the weights follow from."""
    right: Callable[[Size], bool]
    """Whether it tells the slopes of a column of this size as they are, but for the curvature of
    the loss and for noise: nothing that a move changes is credited to no one."""
    draw: Callable[[Array, Size, int, int], Array | None] = lambda key, size, columns, examples: (
        None
    )
    """``(key, size, columns, examples)``: what is drawn at random for columns, for all of them at
    once, [columns, ...]; None where nothing is."""


def weights(eps: float | None = None) -> Probes:
    """One evaluation for each weight, moved by ``eps`` times the root mean square of its column.

    Exact up to the curvature of the loss, for any loss.

    Args:
        eps: size of the move, in units of the root mean square of the column's weights, or of
            1 / sqrt(height), if that is larger. By default a hundredth, and a 3000th of a scale or
            a shift, which are columns by themselves, where every example has a loss of its own in
            float32 or wider: they move all of z, at every position of every example the same way,
            and the loss of so large a sum bends soon. Losses that are coarse, counted or rounded,
            would not see so short a move: give a size.
    """
    if eps is not None:
        _check_eps(eps)

    def slopes(drawn: Array | None, column: Column) -> Array:
        del drawn
        size = (_default_move(column) if eps is None else eps) * _unit(column.weights)
        # Of a large weight in a narrow type so small a move would be rounded away.
        least = 2 * float(jnp.finfo(column.weights.dtype).eps)

        def probe(k: Array) -> Array:
            weight = column.weights[k]
            value = weight + jnp.maximum(size, least * jnp.abs(weight))
            # Two means would each be rounded, at the size of the loss.
            change = jnp.mean(column.move_weight(k, value) - column.losses)
            moved = value.astype(change.dtype) - weight.astype(change.dtype)
            return finite(change) / moved

        return column.map(probe, jnp.arange(column.size.height))

    return Probes(
        moves=lambda size: "weights",
        evaluations=lambda size: size.height,
        slopes=slopes,
        right=lambda size: True,
    )


def nodes(
    eps: float = 0.02,
    positions: Positions = "each",
    credit: Credit = "all",
    repeats: int = 1,
    common: bool = False,
) -> Probes:
    """Pre-activations moved up or down at random, each example credited with its own loss.

    What an example's move does to the losses of others is not credited to it. Under batch norm that
    is a large part of the slope, whatever the size of the mini-batch: take ``common`` or
    ``weights()`` there, or normalise each example alone.

    Args:
        eps: size of the move, in units of the pre-activation's root mean square over the column,
            or of ``LONGEST``, if that is smaller.
        positions: where an example has several (of a convolution, tokens), one at a time, an
            evaluation for each; or all at once with a sign for each, which is one evaluation, and
            noise that grows with their number.
        credit: which of an example's losses a moved position is credited with, where there is one
            for each token and it is known at which token the position lies; see ``Credit``.
        repeats: of each with other signs, averaged.
        common: for losses in which examples meet in statistics of the mini-batch: with two more
            evaluations a column, of a shift and of a stretch of z that all examples share, the
            slopes along those two are right, and with them all of a batch norm that follows at
            once; what passes through later ones is still missing.
    """
    _check_eps(eps)
    _check_choices(positions, credit)
    if repeats < 1:
        raise UserError(f"repeats is {repeats!r}; make each probe at least once")

    def draw(key: Array, size: Size, columns: int, examples: int) -> Array:
        return draw_signs(key, (columns, repeats, size.positions), examples)

    def slopes(drawn: Array | None, column: Column) -> Array:
        assert drawn is not None
        size = _size_of_move(column.z, eps)
        found = of_examples(drawn, column, size)
        return with_common(column, found, size) if common else found

    def of_examples(drawn: Array, column: Column, size: Array) -> Array:
        examples, count = column.z.shape

        def signs(packed: Array) -> Array:
            return unpack_signs(packed, examples, column.z.dtype)

        def probe_one(packed: Array, position: Array) -> Array:
            return slopes_at(column, position, signs(packed) * size, credit)

        def probe_all(packed: Array) -> Array:
            return slopes_of_z(column, signs(packed).T * size, credit)

        if positions == "together":
            return column.map(probe_all, drawn).mean(0)
        each = jnp.tile(jnp.arange(count), repeats)
        found = column.map(probe_one, drawn.reshape(repeats * count, -1), each)
        return found.reshape(repeats, count, examples).mean(0).T

    return Probes(
        moves=lambda size: _moves_of_nodes(size, positions),
        evaluations=lambda size: _node_evaluations(size, positions, repeats, common),
        slopes=slopes,
        right=lambda size: size.meeting() in ("nowhere", *["at once"] * common),
        draw=draw,
    )


def towards(
    threshold: float = 0.0,
    eps: float = 0.25,
    positions: Positions = "each",
    credit: Credit = "all",
) -> Probes:
    """Pre-activations moved towards a threshold, which a small step would seldom cross.

    For signs, rounding and steps, whose derivative is 0 or nothing: a move that crosses the
    threshold sees what follows from it.

    Args:
        threshold: of the pre-activation.
        eps: size of the move, in units of the pre-activation's root mean square over the column.
        positions: as of ``nodes``.
        credit: as of ``nodes``.
    """
    _check_eps(eps)
    _check_choices(positions, credit)

    def slopes(drawn: Array | None, column: Column) -> Array:
        del drawn
        size = eps * spread(column.z)

        def step(z: Array) -> Array:
            return jnp.where(z > threshold, -size, size)

        def probe(position: Array) -> Array:
            return slopes_at(column, position, step(column.z[:, position]), credit)

        if positions == "together":
            return slopes_of_z(column, step(column.z), credit)
        return column.map(probe, jnp.arange(column.z.shape[1])).T

    return Probes(
        moves=lambda size: _moves_of_nodes(size, positions),
        evaluations=lambda size: _node_evaluations(size, positions, 1),
        slopes=slopes,
        right=lambda size: size.meeting() == "nowhere",
    )


def cheapest(*ways: Probes) -> Probes:
    """For each leaf the way that takes the least work, counted, of those that are right for it.

    A way is right that tells the slopes as they are, up to the curvature of the loss and to noise.
    Where examples meet in what follows, as in batch norm, ``nodes()`` is not, and with ``common``
    only if that follows at once. Where none is right, all that can be gone are compared.

    Args:
        ways: to choose among, of equal ones the first; if none is given ``weights()``, which is
            right whatever follows, and ``nodes()`` one position at a time, with and without
            ``common``. Signs for all positions at once are used where they are asked for only: at
            equal evaluations times examples they gain nothing, because their noise is that of a
            mini-batch smaller by as many times as there are positions. With a loss for every token
            they may: ``cheapest(nodes(positions="together", credit="following"), weights())``.
    """
    ways = ways or (weights(), nodes(), nodes(common=True))

    def choose(size: Size) -> Probes:
        possible = [way for way in ways if way.evaluations(size) is not None]
        if not possible:
            raise UserError(
                f"no way to probe a column of {size.height} weights is among those given; add "
                "weights()"
            )
        if len(possible) == 1:
            return possible[0]
        right = [way for way in possible if way.right(size)] or possible
        # Fewer than one evaluation there are not, so what that would take need not be counted.
        single = [way for way in right if way.evaluations(size) == 1]
        return single[0] if single else min(right, key=partial(_price, size))

    return Probes(
        moves=lambda size: choose(size).moves(size),
        evaluations=lambda size: choose(size).evaluations(size),
        slopes=lambda drawn, column: choose(column.size).slopes(drawn, column),
        right=lambda size: choose(size).right(size),
        draw=lambda key, size, *counts: choose(size).draw(key, size, *counts),
    )


def _price(size: Size, way: Probes) -> float:
    """What a column takes."""
    return (way.evaluations(size) or 0) * size.price(way.moves(size))


def _check_eps(eps: float) -> None:
    """Refuse a move of no size."""
    if not eps > 0:
        raise UserError(f"eps is {eps!r}; a move has a size above 0")


def _check_choices(positions: str, credit: str) -> None:
    """Refuse ways that are none."""
    for name, value, known in (
        ("positions", positions, get_args(Positions)),
        ("credit", credit, get_args(Credit)),
    ):
        if value not in known:
            raise UserError(f"{name} is {value!r}; there are {', '.join(map(repr, known))}")


def _default_move(column: Column) -> float:
    """How far a weight is moved, in the units of ``weights``.

    One number for all examples, and narrow types, tell short moves from none by a few last digits.
    """
    narrowest = min(a.dtype.itemsize for a in (column.weights, column.losses))
    fine = column.size.credited and narrowest >= jnp.dtype("float32").itemsize
    return MOVE_ALONE if column.size.height == 1 and fine else MOVE


def _unit(weights: Array) -> Array:
    """Root mean square of a column's weights, but no less than that of one that keeps z in scale.

    In units of its own, a shift of 0.01 or a column that began at 0 would move so little that the
    change of the loss is lost in its rounding.
    """
    return jnp.maximum(jnp.sqrt(jnp.mean(weights**2)), weights.size**-0.5)


def _size_of_move(z: Array, eps: float) -> Array:
    """How far a pre-activation is moved: ``eps`` times its root mean square, up to a length.

    A loss bends over a length that does not grow with z: logits of hundreds, moved by a fiftieth
    of that, would tell the slope of a chord. Shorter moves than the root of what the type can tell
    apart would be lost in rounding.
    """
    length = spread(z)
    resolved = float(jnp.finfo(z.dtype).eps) ** 0.5
    return jnp.maximum(eps * jnp.minimum(length, LONGEST), min(eps, resolved) * length)


def _moves_of_nodes(size: Size, positions: Positions) -> Moves:
    return "positions" if positions == "each" and size.positions > 1 else "nodes"


def _node_evaluations(
    size: Size, positions: Positions, repeats: int, common: bool = False
) -> int | None:
    if not size.credited or not size.positions:
        return None
    return repeats * (size.positions if positions == "each" else 1) + 2 * common
