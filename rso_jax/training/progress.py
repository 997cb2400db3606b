"""Progress: a live bar on a terminal, plain lines in a pipe, one line for every cycle."""

import os
import sys
import time
from typing import Any, Protocol

from tqdm import tqdm

PLAIN_LINE_SECONDS = 30.0
"""At most this long without a word when there is no bar."""
_BAR = "{desc} {percentage:3.0f}%|{bar}|"


class Reporter(Protocol):
    """Told how a run goes on."""

    def begin(self, cycles: int, done: float) -> None:
        """The run of so many cycles starts, or goes on after ``done`` of them."""
        ...

    def visits(self, cycle: int, stage: str, done: float, status: "Status") -> None:
        """A stage of a cycle (counted from 0) goes on; ``done`` cycles are, parts included."""
        ...

    def cycle(self, metrics: dict[str, Any]) -> None:
        """A cycle is complete and was scored."""
        ...

    def end(self) -> None:
        """The run is over or interrupted."""
        ...


class Status:
    """How a run stands: its last losses, its rate, and the time left."""

    def __init__(self) -> None:
        self.loss = float("nan")
        self.accepted_share = float("nan")
        self.test_accuracy: float | None = None
        self.images_per_second = 0.0
        self.seconds_left = float("inf")
        self.at_least = False
        """Some stage was never measured, and ``seconds_left`` is a guess from below."""

    def estimate(self, remaining: dict[str, float], pace: dict[str, float]) -> None:
        """Work out the time left.

        Stages differ in cost by orders of magnitude, so each is counted at its own pace; one
        not seen yet at the slowest seen, because sweeps get slower towards the first layer.

        Args:
            remaining: visits times examples left, by stage.
            pace: seconds for each of them, by stage, as far as measured.
        """
        unseen = max(pace.values(), default=float("inf"))
        self.at_least = bool(pace) and not remaining.keys() <= pace.keys()
        self.seconds_left = sum(n * pace.get(name, unseen) for name, n in remaining.items())


class ConsoleReporter:
    """A tqdm bar on a terminal's stderr; plain lines where there is none."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._cycles = 0
        self._spoke = time.monotonic()

    def begin(self, cycles: int, done: float) -> None:
        """Open the bar."""
        self._cycles, self._spoke = cycles, time.monotonic()
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
        if status.test_accuracy is not None:
            parts.append(f"test {status.test_accuracy:.2%}")
        parts.append(f"{_short(status.images_per_second)} img/s")
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
        self._say(
            f"cycle {metrics['cycle']}/{self._cycles}  test accuracy {metrics['test_accuracy']:.2%}"
            f"  train loss {_loss(metrics['train_loss'])}  accepted {metrics['accepted_share']:.0%}"
            f"  {_short(metrics['image_evaluations'])} image evaluations"
            f"  {metrics['seconds']:.1f} s"
        )
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

    def begin(self, cycles: int, done: float) -> None:
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


def _loss(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"
