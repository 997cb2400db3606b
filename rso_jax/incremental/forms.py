"""Forms: what kind of value an array is in every iteration of a loop, and the arrays it is made of.

A loop carries arrays. Those that make up a value are of two kinds: those the column cannot change,
which are known ahead of all candidates, and the others.
"""

from collections.abc import Sequence
from typing import NamedTuple

from jax import Array

from rso_jax.incremental.values import Dense, Ranges, Same, Sliced, Value, take, whole


class Form(NamedTuple):
    """What kind of value an array is in every iteration."""

    kind: type
    shape: tuple[int, ...]
    """Of the view of a sliced one, else of the array."""
    ranges: Ranges = ()
    groups: tuple[int, ...] = ()


def form_of(value: Value) -> Form:
    """The form of one value; a sum is dense."""
    if isinstance(value, Sliced):
        return Form(Sliced, value.base.shape, value.ranges, value.groups)
    if isinstance(value, Same):
        return Form(Same, value.array.shape)
    return Form(Dense, ())


def join(before: Form, after: Form) -> Form:
    """The form that serves what an iteration carries both before and after it."""
    if before == after or (after.kind is Same and before.kind is Sliced):
        return before
    if before.kind is Same and after.kind is Sliced:
        return after
    return Form(Dense, ())


def _separate(value: Value, form: Form) -> tuple[list[Array], list[Array]]:
    """The arrays that make a value of that form: those the column cannot change, and the others."""
    if form.kind is Same:
        return [whole(value)], []
    if form.kind is Dense:
        return [], [whole(value)]
    if isinstance(value, Sliced):
        return [value.base], [value.part]
    base = whole(value).reshape(form.shape)
    return [base], [take(base, form.ranges)]


def _value(form: Form, known: list[Array], unknown: list[Array]) -> Value:
    """The value of that form; takes its arrays from the front of the lists."""
    if form.kind is Same:
        return Same(known.pop(0))
    if form.kind is Dense:
        return Dense(unknown.pop(0))
    return Sliced(known.pop(0), unknown.pop(0), form.ranges, form.groups)


class Arrays(NamedTuple):
    """Arrays of some values, those the column cannot change apart."""

    known: list[Array]
    unknown: list[Array]

    @classmethod
    def of(cls, values: Sequence[Value], forms: Sequence[Form]) -> "Arrays":
        """The arrays that values of these forms are made of, which theirs are or can be made."""
        pairs = [_separate(v, f) for v, f in zip(values, forms, strict=True)]
        return cls([a for k, _ in pairs for a in k], [a for _, u in pairs for a in u])

    def values(self, forms: Sequence[Form]) -> list[Value]:
        """The values again."""
        known, unknown = list(self.known), list(self.unknown)
        return [_value(form, known, unknown) for form in forms]


def form_inside(value: Value) -> Form:
    """The form of one index of a value's leading axis, of which no range is taken."""
    form = form_of(value)
    return Form(form.kind, form.shape[1:], form.ranges[1:], form.groups[1:])


def form_outside(form: Form, length: int) -> Form:
    """The form of so many values of a form, one after the other along a leading axis."""
    if form.kind is not Sliced:
        return form
    return Form(Sliced, (length, *form.shape), (None, *form.ranges), (1, *form.groups))
