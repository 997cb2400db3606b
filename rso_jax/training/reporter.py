"""Reporters: a live bar on a terminal, plain lines in a pipe, one line for every cycle."""

import os
import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from tqdm import tqdm

from rso_jax.tasks.task import in_words, is_share

PyTree = Any

PLAIN_LINE_SECONDS = 30.0
"""At most this long without a word when there is no bar."""
_BAR = "{desc} {percentage:3.0f}%|{bar}|"


class Status(NamedTuple):
    """How a run stands after some visits."""

    loss: float
    """Of one example, on the last mini-batch."""
    accepted_share: float
    """Of the changes proposed in this cycle."""
    examples_per_second: float
    """Evaluated, of all candidates."""
    unit: str
    """What the task calls its examples."""
    seconds_left: float
    """Infinite where no more is known than the time of calls that compiled."""
    at_least: bool
    """Some stage was never measured, and ``seconds_left`` is a guess from below."""
    last_line: Mapping[str, Any]
    """Metrics of the last cycle scored; empty before the first."""


class Reporter(Protocol):
    """Told how a run goes on; parameters too, where it is a ``ParamsReporter``."""

    def begin(self, cycles: int, done: float, shown: tuple[str, ...]) -> None:
        """The run of so many cycles starts, or goes on after ``done`` of them.

        ``shown`` names the numbers of the score to show, the foremost first.
        """
        ...

    def visits(self, cycle: int, stage: str, done: float, status: Status) -> None:
        """A stage of a cycle (counted from 0) goes on; ``done`` cycles are, parts included."""
        ...

    def cycle(self, metrics: dict[str, Any]) -> None:
        """A cycle is complete and was scored."""
        ...

    def end(self) -> None:
        """The run is over or interrupted."""
        ...


@runtime_checkable
class ParamsReporter(Protocol):
    """A reporter that is told parameters, too."""

    def params(self, cycle: int, params: PyTree) -> None:
        """A cycle, counted from 1, came to these; its metrics are told next."""
        ...


class ConsoleReporter:
    """A tqdm bar on a terminal's stderr; plain lines where there is none."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._cycles = 0
        self._shown: tuple[str, ...] = ()
        self._spoke = time.monotonic()

    def begin(self, cycles: int, done: float, shown: tuple[str, ...]) -> None:
        """Open the bar."""
        self._cycles, self._shown, self._spoke = cycles, shown, time.monotonic()
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=cycles,
                initial=done,
                file=sys.stderr,
                dynamic_ncols=True,
                leave=False,
                colour=None if "NO_COLOR" in os.environ else "green",
                bar_format=_BAR,
                desc="compiling",
            )

    def visits(self, cycle: int, stage: str, done: float, status: Status) -> None:
        """Move the bar, or say a line now and then."""
        where = f"cycle {cycle + 1}/{self._cycles} {stage}"
        parts = [f"loss {status.loss:.4g}", f"accepted {status.accepted_share:.0%}"]
        for name in self._shown[:1]:
            if name in status.last_line:
                short = in_words(name.removesuffix("_accuracy"))
                parts.append(f"{short} {_value(name, status.last_line[name])}")
        parts.append(f"{_short(status.examples_per_second)} {status.unit}/s")
        at_least = "at least " if status.at_least else ""
        parts.append(f"{at_least}{_clock(status.seconds_left)} left")
        if self._bar is not None:
            self._bar.set_description_str(where, refresh=False)
            self._bar.bar_format = f"{_BAR} {' · '.join(parts)}"
            self._bar.update(done - self._bar.n)
        elif time.monotonic() - self._spoke > PLAIN_LINE_SECONDS:
            self._say(f"{where}: {', '.join(parts)}")

    def cycle(self, metrics: dict[str, Any]) -> None:
        """Say how the cycle went."""
        parts = [
            f"cycle {metrics['cycle']}/{self._cycles}",
            *(f"{in_words(name)} {_value(name, metrics[name])}" for name in self._shown),
            f"accepted {metrics['accepted_share']:.0%}",
            f"{_short(metrics['image_evaluations'])} image evaluations",
            f"{metrics['seconds']:.1f} s",
        ]
        self._say("  ".join(parts))
        if lost := metrics.get("not_finite"):
            share = 100 * lost / metrics["candidates"]
            self._say(f"  {share:.2g} % of candidates had a loss that is not finite")

    def end(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _say(self, line: str) -> None:
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()
        self._spoke = time.monotonic()


class SilentReporter:
    """Says nothing: for notebooks and tests."""

    def begin(self, cycles: int, done: float, shown: tuple[str, ...]) -> None:
        """Nothing."""

    def visits(self, cycle: int, stage: str, done: float, status: Status) -> None:
        """Nothing."""

    def cycle(self, metrics: dict[str, Any]) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


def _short(number: float) -> str:
    return str(tqdm.format_sizeof(number, divisor=1000))


def _clock(seconds: float) -> str:
    return "?" if seconds == float("inf") else str(tqdm.format_interval(seconds))


def _value(name: str, number: float | None) -> str:
    if number is None:
        return "not finite"
    if is_share(name):
        return f"{number:.2%}"
    return f"{number:.4f}" if name.endswith("loss") else f"{number:.4g}"
