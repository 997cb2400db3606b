"""Indices: where a changed slice begins, as arithmetic that is known before it is computed.

Reshaping, splitting and joining axes turns the number of a column into other numbers: a head, a
place within it. Two slices can be computed together only where they begin at the same place, so an
index is kept as a sum of multiples of atoms, and two that are made alike are equal.
"""

import functools
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial

import jax.numpy as jnp
from jax import Array, lax


@dataclass(frozen=True)
class Atom:
    """An integer that is traced, from 0 up to a bound."""

    name: Hashable
    """What it is; atoms of one name are equal."""
    bound: int
    """One more than its largest value."""
    make: Callable[[], Array] = field(compare=False, repr=False)
    """Computes its value, int32; wherever it is asked for, also while a loop's body is traced."""


@dataclass(frozen=True)
class Index:
    """A sum of positive multiples of atoms and a constant, never negative where it is used."""

    terms: tuple[tuple[int, Atom], ...] = ()
    """Factors and atoms, in a fixed order."""
    constant: int = 0

    @property
    def smallest(self) -> int:
        """The least that it can be."""
        return self.constant

    @property
    def largest(self) -> int:
        """The most that it can be."""
        return self.constant + sum(factor * (atom.bound - 1) for factor, atom in self.terms)

    @property
    def is_static(self) -> bool:
        """Whether its value is known while tracing."""
        return not self.terms

    def value(self) -> Array:
        """The number itself, int32."""
        parts = [a.make() if f == 1 else jnp.int32(f) * a.make() for f, a in self.terms]
        if self.constant or not parts:
            parts.append(jnp.int32(self.constant))
        return functools.reduce(lax.add, parts)

    def plus(self, number: int) -> "Index":
        """The index moved by a number."""
        return Index(self.terms, self.constant + number)

    def times(self, factor: int) -> "Index":
        """The index multiplied by a positive number."""
        return Index(tuple((factor * f, a) for f, a in self.terms), factor * self.constant)

    def together(self, other: "Index") -> "Index":
        """The sum of two indices."""
        factors: dict[Atom, int] = {}
        for factor, atom in (*self.terms, *other.terms):
            factors[atom] = factors.get(atom, 0) + factor
        terms = sorted(factors.items(), key=lambda item: (-item[1], repr(item[0].name)))
        return Index(tuple((f, a) for a, f in terms), self.constant + other.constant)

    def divided(self, by: int) -> tuple["Index", "Index"]:
        """Quotient and remainder, for an index that is not negative."""
        whole = tuple((f // by, a) for f, a in self.terms if f % by == 0)
        rest = Index(tuple(t for t in self.terms if t[0] % by), self.constant % by)
        if rest.largest < by:
            return Index(whole, self.constant // by), rest
        # Of numbers that are not negative these are what // and % are, and take one operation.
        quotient = partial(self._by, lax.div, by)
        return (
            of(Atom(("quotient", self, by), self.largest // by + 1, quotient)),
            of(Atom(("remainder", self, by), by, partial(self._by, lax.rem, by))),
        )

    def _by(self, operation: Callable[[Array, Array], Array], number: int) -> Array:
        return operation(self.value(), jnp.int32(number))


def of(atom: Atom) -> Index:
    """The index that is an atom."""
    return Index(((1, atom),))


def column_index(o: Array, columns: int) -> Index:
    """The index of the column itself.

    Args:
        o: integer scalar, traced.
        columns: how many there are.
    """
    return of(Atom("column", columns, lambda: jnp.asarray(o, jnp.int32)))


def from_the_end(start: Index, last: int) -> Index:
    """The index counted from the other end.

    Args:
        start: an index.
        last: the largest that it can be.
    """
    if start.is_static:
        return Index((), last - start.constant)
    name = ("from the end", start, last)
    return of(Atom(name, last + 1, lambda: jnp.int32(last) - start.value()))
