"""Loggers: reporters that hand a run's numbers on, and several reporters at once."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from rso_jax.training.checks import check_reporter
from rso_jax.training.reporter import ParamsReporter, Reporter, Status

PyTree = Any


def scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a line of metrics, flat, as loggers take them.

    One within another, such as the share of an array, is ``accepted_share_by_array/conv1/kernel``.
    The cycle is left out, which is the step they belong to, and so is what was not finite.

    Args:
        metrics: as ``Reporter.cycle`` is told, or a line of metrics.jsonl.
    """
    found: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            found |= {f"{name}/{inner}": number for inner, number in scalars(value).items()}
        elif value is not None and name != "cycle":
            found[name] = value
    return found


class Reporters:
    """Several reporters, each told everything in their order.

    ::

        train(..., reporter=Reporters(ConsoleReporter(), TensorBoardReporter("events")))
    """

    def __init__(self, *reporters: Reporter) -> None:
        """Of any kind.

        Raises:
            UserError: one that is no reporter.
        """
        for reporter in reporters:
            check_reporter(reporter)
        self._reporters = reporters

    def begin(self, cycles: int, done: float, shown: tuple[str, ...]) -> None:
        """Tell all."""
        for reporter in self._reporters:
            reporter.begin(cycles, done, shown)

    def visits(self, cycle: int, stage: str, done: float, status: Status) -> None:
        """Tell all."""
        for reporter in self._reporters:
            reporter.visits(cycle, stage, done, status)

    def params(self, cycle: int, params: PyTree) -> None:
        """Tell those that want them."""
        for reporter in self._reporters:
            if isinstance(reporter, ParamsReporter):
                reporter.params(cycle, params)

    def cycle(self, metrics: dict[str, Any]) -> None:
        """Tell all."""
        for reporter in self._reporters:
            reporter.cycle(metrics)

    def end(self) -> None:
        """Tell all, even where one of them fails."""
        with ExitStack() as stack:
            for reporter in reversed(self._reporters):
                stack.callback(reporter.end)
