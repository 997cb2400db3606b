"""Blocks of weights decided at once, and the joint steps that are tried of them.

Every weight of a block is probed alone, and from the probes joint steps are made. A joint step is
a pure function ``(tried, losses) -> values``. ``tried`` holds the values at which each
weight was probed while the others stayed, the incumbent first; ``losses`` what came of it, all on
one mini-batch. The acceptance picks among the incumbent, the probes and the joint steps; if it is
``greedy`` the mini-batch's loss never gets worse.

Steps down the slope that probes measure, with momentum or orthogonalised, are ``rso_jax.slopes``.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Literal, NamedTuple, Protocol

import jax.numpy as jnp
from jax import Array

from rso_jax.errors import UserError


class JointStep(Protocol):
    """Makes candidates of a block from the probes of its weights."""

    def __call__(self, tried: Array, losses: Array) -> Array:
        """Return values of all weights of the block, for each of some candidates.

        Args:
            tried: values [columns, weights, candidates] of each weight, the incumbent first.
            losses: likewise; of a loss that was not finite, +inf.

        Returns:
            Values [joint candidates, columns, weights], of the dtype of ``tried``.
        """
        ...


class Block(NamedTuple):
    """How many weights are decided at once, and how."""

    size: int | Literal["column", "leaf"]
    """Weights: a part of a column, divided evenly, or as many whole columns as that makes."""
    step: JointStep
    probe: bool = True
    """Whether each weight is probed alone first; what ``step`` is given else is the incumbent's
    loss only."""


def check_block(block: Block) -> Block:
    """The block, if it is one.

    Raises:
        UserError: no ``Block``, a size that is neither a number from 1 on nor ``"column"`` or
            ``"leaf"``, or a step that is no function.
    """
    if not isinstance(block, Block):
        raise UserError(
            f"block is {block!r}; pass a rso_jax.search.joint.Block, a function of the cycle that "
            "returns one, or None"
        )
    size, step, probe = block
    if not callable(step):
        raise UserError(f"the step of the block is {step!r}; pass a function, as joint.accepted()")
    if not isinstance(probe, bool):
        raise UserError(f"probe of the block is {probe!r}; it must be True or False")
    if isinstance(size, str) and size in ("column", "leaf"):
        return block
    if isinstance(size, Integral) and not isinstance(size, bool) and size >= 1:
        return block._replace(size=int(size))
    raise UserError(f"a block of size {size!r}; it must be 1 or more, 'column' or 'leaf'")


def _checked(scales: Sequence[float]) -> Sequence[float]:
    if not len(scales):
        raise UserError("scales is empty; pass at least one factor of the joint step")
    return scales


def accepted(scales: Sequence[float] = (1.0, 0.5, 0.25)) -> JointStep:
    """Every weight to its best probe, the whole way and parts of it.

    Args:
        scales: how far from the incumbent.
    """
    _checked(scales)

    def step(tried: Array, losses: Array) -> Array:
        best = jnp.argmin(losses, axis=-1)[..., None]
        there = jnp.take_along_axis(tried, best, axis=-1)[..., 0]
        return _scaled(tried[..., 0], there - tried[..., 0], scales)

    return step


def parabola(scales: Sequence[float] = (1.0, 0.5, 0.25, 0.125), limit: float = 1.0) -> JointStep:
    """Every weight to the lowest point of the parabola through its probes: Newton's step along it.

    Args:
        scales: how far from the incumbent.
        limit: largest step of a weight, in units of its perturbations; a weight whose parabola
            opens downwards goes that far.
    """
    _checked(scales)

    def step(tried: Array, losses: Array) -> Array:
        moved, change = _changes(tried, losses)
        size = jnp.sqrt(jnp.mean(moved**2, axis=-1))
        x = _ratio(moved, size[..., None])
        # Least squares of change = slope x + bend x^2.
        xx, xxx, xxxx = (jnp.sum(x**n, axis=-1) for n in (2, 3, 4))
        y, xy = jnp.sum(x * change, axis=-1), jnp.sum(x**2 * change, axis=-1)
        determinant = xx * xxxx - xxx**2
        slope = _ratio(y * xxxx - xy * xxx, determinant)
        bend = _ratio(xy * xx - y * xxx, determinant)
        lowest = jnp.where(bend > 0, -_ratio(slope, 2 * bend), -limit * jnp.sign(slope))
        return _scaled(tried[..., 0], size * jnp.clip(lowest, -limit, limit), scales)

    return step


def together(tried: Array, losses: Array) -> Array:
    """Every weight to its first candidate, every weight to its second, and so on.

    Needs no probes: one random draw moves the whole block, ``Block("column", together, False)``.
    """
    del losses
    return jnp.moveaxis(tried[..., 1:], -1, 0)


def _changes(tried: Array, losses: Array) -> tuple[Array, Array]:
    """How far each probe moved its weight, and what that did to the loss."""
    change = losses[..., 1:] - losses[..., :1]
    return (
        (tried[..., 1:] - tried[..., :1]).astype(losses.dtype),
        jnp.where(jnp.isfinite(change), change, 0),
    )


def _ratio(a: Array, b: Array) -> Array:
    """``a / b``, and 0 where b is."""
    return jnp.where(b == 0, 0, a / jnp.where(b == 0, 1, b))


def _scaled(start: Array, step: Array, scales: Sequence[float]) -> Array:
    by = jnp.asarray(scales, step.dtype)[:, None, None]
    wide = jnp.promote_types(start.dtype, step.dtype)
    return (start[None].astype(wide) + (by * step[None]).astype(wide)).astype(start.dtype)
