"""Arrays of a traced function, each held as it was or with its examples along the last axis."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array


class Held:
    """An array held as it was, with its examples last, or both."""

    def __init__(
        self,
        axis: int | None,
        *,
        known: bool,
        ahead: bool = False,
        plain: Array | Callable[[], Array] | None = None,
        last: Array | Callable[[], Array] | None = None,
    ) -> None:
        self.axis = axis
        """Along which its examples lie; None where it has none, or they are not apart."""
        self.known = known
        """Whether it follows from what is known at first."""
        self.ahead = ahead
        """Whether it is known before a candidate is."""
        self._plain = plain
        self._last = last

    def plain(self) -> Array:
        """The array as it was."""
        if callable(self._plain):
            self._plain = self._plain()
        if self._plain is None:
            assert self._last is not None and self.axis is not None
            self._plain = jnp.moveaxis(self.last(), -1, self.axis)
        return self._plain

    def last(self) -> Array:
        """The array with its examples last; as it was, where it has none."""
        if callable(self._last):
            self._last = self._last()
        if self._last is None:
            plain = self.plain()
            self._last = plain if self.axis is None else jnp.moveaxis(plain, self.axis, -1)
        return self._last


def order(ndim: int, axis: int | None) -> list[int]:
    """Axes in the order in which they are held, where examples lie along one of them."""
    return [a for a in range(ndim) if a != axis] + ([] if axis is None else [axis])


def place(axes: Sequence[int], ndim: int, axis: int | None) -> tuple[int, ...]:
    """Where these axes of an array are held."""
    found = order(ndim, axis)
    return tuple(found.index(a) for a in axes)


def turned(setting: Sequence[Any], axis: int | None) -> tuple[Any, ...]:
    """A setting for each axis in the order in which they are held."""
    return tuple(setting[a] for a in order(len(setting), axis))
