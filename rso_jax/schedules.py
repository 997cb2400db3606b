"""Settings that change from cycle to cycle."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Value = TypeVar("Value")


def in_parts(values: Sequence[Value], cycles: int) -> Callable[[int], Value]:
    """One value after the other, each for as many cycles.

    Args:
        values: at least one, at most one for each cycle.
        cycles: of the whole run; cycles after it have the last value.

    Returns:
        The value as a function of the cycle, counted from 0.
    """
    return lambda cycle: values[min(cycle, cycles - 1) * len(values) // cycles]
