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
from typing import Literal, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np
from jax import Array

from rso_jax.errors import UserError
from rso_jax.slopes.signs import draw_signs, unpack_signs

Positions = Literal["each", "together"]
"""Whether the positions of an example are moved one at a time, or at once."""

Credit = Literal["all", "own", "following"]
"""Which of an example's losses, one for each token, a move of its pre-activation at one token is
credited with:

- ``all`` of them: right for any model, on average where positions are moved together;
- the ``own`` loss, of the same token: right where what follows brings no tokens together; else
  what the move does to other tokens is missing, and there is little noise;
- its own and all ``following`` ones: right, on average, for causal models, with less noise.
"""


class Size(NamedTuple):
    """What a column's probes are counted from."""

    height: int
    """Weights of the column."""
    positions: int
    """Values of its pre-activation for every example; 0 where it has none that examples own."""
    credited: bool
    """Whether every example has a loss of its own."""
    tokens: int
    """Losses of every example; 1 where it has one."""


class Column(NamedTuple):
    """A column of a leaf on one mini-batch, as a probe sees it."""

    size: Size
    weights: Array
    """Its weights [height], flattened in row-major order."""
    z: Array
    """Its pre-activation [examples, positions]."""
    tokens: np.ndarray
    """The token at which each position lies, [positions]; -1 where that is not known."""
    losses: Array
    """Of every example and token, [examples, tokens], before anything is moved; [1, 1] where the
    loss is one number."""
    move_weight: Callable[[Array, Array], Array]
    """``(k, value)``: the losses with weight ``k`` at another value."""
    move_z: Callable[[Array], Array]
    """``(z)``: the losses with another pre-activation."""
    map: Callable[..., Array]
    """``map(function, *xs)`` along the first axes, as many at once as there is room for."""


class Probes(NamedTuple):
    """A way to probe."""

    moves: Callable[[Size], Literal["weights", "nodes"]]
    """What is moved of a column of this size."""
    evaluations: Callable[[Size], int | None]
    """Evaluations of the loss for a column; None where this way cannot be gone."""
    slopes: Callable[[Array | None, Column], Array]
    """``(drawn, column)``: the slopes of the mean loss by what is moved: by the weights [height],
    or by the pre-activation [examples, positions], which those of the weights follow from."""
    draw: Callable[[Array, Size, int, int], Array | None] = lambda key, size, columns, examples: (
        None
    )
    """``(key, size, columns, examples)``: what is drawn at random for columns, for all of them at
    once, [columns, ...]; None where nothing is."""


def weights(eps: float = 1e-2) -> Probes:
    """One evaluation for each weight, moved by ``eps`` times the root mean square of its column.

    Exact up to the curvature of the loss, for any loss.

    Args:
        eps: size of the move, in units of the root mean square of the column's weights, or of
            1 / sqrt(height), if that is larger.
    """
    _check_eps(eps)

    def slopes(drawn: Array | None, column: Column) -> Array:
        del drawn
        size = eps * _unit(column.weights)
        # Of a large weight in a narrow type so small a move would be rounded away.
        least = 2 * float(jnp.finfo(column.weights.dtype).eps)

        def probe(k: Array) -> Array:
            weight = column.weights[k]
            value = weight + jnp.maximum(size, least * jnp.abs(weight))
            # Two means would each be rounded, at the size of the loss.
            change = jnp.mean(column.move_weight(k, value) - column.losses)
            moved = value.astype(change.dtype) - weight.astype(change.dtype)
            return _finite(change) / moved

        return column.map(probe, jnp.arange(column.size.height))

    return Probes(lambda size: "weights", lambda size: size.height, slopes)


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
        eps: size of the move, in units of the pre-activation's root mean square over the column.
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
        size = eps * _spread(column.z)
        found = of_examples(drawn, column, size)
        return _with_common(column, found, size) if common else found

    def of_examples(drawn: Array, column: Column, size: Array) -> Array:
        examples, count = column.z.shape

        def signs(packed: Array) -> Array:
            return unpack_signs(packed, examples, column.z.dtype)

        def probe_one(packed: Array, position: Array) -> Array:
            return _slopes_at(column, position, signs(packed) * size, credit)

        def probe_all(packed: Array) -> Array:
            return _slopes_of_z(column, signs(packed).T * size, credit)

        if positions == "together":
            return column.map(probe_all, drawn).mean(0)
        each = jnp.tile(jnp.arange(count), repeats)
        found = column.map(probe_one, drawn.reshape(repeats * count, -1), each)
        return found.reshape(repeats, count, examples).mean(0).T

    return Probes(
        moves=lambda size: "nodes",
        evaluations=lambda size: _node_evaluations(size, positions, repeats, common),
        slopes=slopes,
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
        size = eps * _spread(column.z)

        def step(z: Array) -> Array:
            return jnp.where(z > threshold, -size, size)

        def probe(position: Array) -> Array:
            return _slopes_at(column, position, step(column.z[:, position]), credit)

        if positions == "together":
            return _slopes_of_z(column, step(column.z), credit)
        return column.map(probe, jnp.arange(column.z.shape[1])).T

    return Probes(lambda size: "nodes", lambda size: _node_evaluations(size, positions, 1), slopes)


def cheapest(*ways: Probes) -> Probes:
    """For each leaf the way of the fewest evaluations among those that can be gone.

    Args:
        ways: to choose among, of equal ones the first; if none is given ``weights()``, which is
            right whatever follows, and ``nodes()`` one position at a time. Both are exact up to the
            curvature. Signs for all positions at once are used where they are asked for only: at
            equal evaluations times examples they gain nothing, because their noise is that of a
            mini-batch smaller by as many times as there are positions. With a loss for every token
            they may: ``cheapest(nodes(positions="together", credit="following"), weights())``.
    """
    ways = ways or (weights(), nodes())

    def choose(size: Size) -> Probes:
        counted = [(way.evaluations(size), way) for way in ways]
        possible = [(count, way) for count, way in counted if count is not None]
        if not possible:
            raise UserError(
                f"no way to probe a column of {size.height} weights is among those given; add "
                "weights()"
            )
        return min(possible, key=lambda one: one[0])[1]

    return Probes(
        moves=lambda size: choose(size).moves(size),
        evaluations=lambda size: choose(size).evaluations(size),
        slopes=lambda drawn, column: choose(column.size).slopes(drawn, column),
        draw=lambda key, size, *counts: choose(size).draw(key, size, *counts),
    )


def _slopes_of_z(column: Column, step: Array, credit: Credit) -> Array:
    """Slopes of the mean loss by z [examples, positions], from one evaluation with all moved."""
    change = _finite(column.move_z(column.z + step) - column.losses)
    own, together = _credited(change, credit)
    known = column.tokens >= 0
    if own is None or not known.any():
        return _per_step(together[:, None], step) / change.size
    if not np.array_equal(column.tokens, np.arange(change.shape[1])):
        own = jnp.where(known, own[:, column.tokens], together[:, None])
    return _per_step(own, step) / change.size


def _slopes_at(column: Column, position: Array, step: Array, credit: Credit) -> Array:
    """Slopes [examples] of the mean loss by z at one position, from one evaluation.

    Args:
        column: whose z is moved.
        position: at which it is.
        step: by which, [examples].
        credit: with which losses.
    """
    here = jnp.arange(column.z.shape[1]) == position
    moved = jnp.where(here, column.z + step[:, None], column.z)
    change = _finite(column.move_z(moved) - column.losses)
    own, together = _credited(change, credit)
    if own is None or not (column.tokens >= 0).any():
        return _per_step(together, step) / change.size
    token = jnp.asarray(column.tokens)[position]
    return _per_step(jnp.where(token >= 0, own[:, token], together), step) / change.size


def _credited(change: Array, credit: Credit) -> tuple[Array | None, Array]:
    """What a position is credited with where its token is known, and where it is not.

    Args:
        change: of the losses, [examples, tokens].
        credit: with which of them.

    Returns:
        For a position of each token [examples, tokens], None where that is all of them; and all of
        them added up, [examples].
    """
    together = change.sum(1)
    if credit == "all":
        return None, together
    return change if credit == "own" else jnp.cumsum(change[:, ::-1], 1)[:, ::-1], together


def _per_step(change: Array, step: Array) -> Array:
    """A change for a move of 1; 0 where nothing is moved."""
    return jnp.where(step == 0, 0, change / jnp.where(step == 0, 1, step))


def _with_common(column: Column, slopes: Array, size: Array) -> Array:
    """Slopes of the mean loss by z, made right along a shift and a stretch of all examples.

    Args:
        column: whose z is moved.
        slopes: [examples, positions], of each example's own losses.
        size: of the moves.
    """
    apart = column.z - jnp.mean(column.z)
    ways = jnp.stack([jnp.ones_like(apart), apart / _spread(apart)])

    def probe(way: Array) -> Array:
        change = jnp.mean(column.move_z(column.z + size * way) - column.losses)
        return _finite(change) / size

    # The two are orthogonal, and their squares are 1 in the mean.
    missing = (column.map(probe, ways) - jnp.sum(ways * slopes, axis=(1, 2))) / slopes.size
    return slopes + jnp.tensordot(missing, ways, 1)


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


def _finite(change: Array) -> Array:
    """A change of the loss, or 0 where one of the two losses is NaN or infinite."""
    return jnp.where(jnp.isfinite(change), change, 0)


def _spread(values: Array) -> Array:
    """Root mean square, or 1 where that is 0."""
    found = jnp.sqrt(jnp.mean(values**2))
    return jnp.where(found > 0, found, 1)


def _unit(weights: Array) -> Array:
    """Root mean square of a column's weights, but no less than that of one that keeps z in scale.

    In units of its own, a shift of 0.01 or a column that began at 0 would move so little that the
    change of the loss is lost in its rounding.
    """
    return jnp.maximum(jnp.sqrt(jnp.mean(weights**2)), weights.size**-0.5)


def _node_evaluations(
    size: Size, positions: Positions, repeats: int, common: bool = False
) -> int | None:
    if not size.credited or not size.positions:
        return None
    return repeats * (size.positions if positions == "each" else 1) + 2 * common
