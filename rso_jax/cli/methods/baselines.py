"""What all baselines are told alike: one size of mini-batch, one schedule of rates."""

import math
from dataclasses import dataclass
from typing import Annotated

import optax
import tyro

from rso_jax.cli.flags import option
from rso_jax.cli.methods.schedule import (
    DEFAULT_CYCLES,
    OTHERWISE_CYCLES,
    MethodSettings,
    Schedule,
    check_sizes,
)
from rso_jax.cli.problem import Posed
from rso_jax.errors import UserError
from rso_jax.networks.grids import stay_on_grid

BATCH_SIZE = 128


@dataclass(frozen=True)
class Baseline(MethodSettings):
    """What every baseline is told."""

    batch_size: Annotated[tuple[int, ...], tyro.conf.arg(metavar="INT", help_behavior_hint="")] = ()
    """Examples in a mini-batch; by default 128, or all there are."""

    def check(self) -> None:
        """Refuse settings that no data set makes valid."""
        super().check()
        if len(self.batch_size) > 1:
            raise UserError(
                f"--batch-size has {len(self.batch_size)} values; --optimizer {self.optimizer} "
                "takes one"
            )

    def settle(self, data_name: str, examples: int) -> Schedule:
        """Fill in what was left to the data."""
        sizes = self.batch_size or (min(BATCH_SIZE, examples),)
        check_sizes(sizes, examples)
        cycles = self.cycles or DEFAULT_CYCLES.get(data_name, OTHERWISE_CYCLES)
        return Schedule(cycles, sizes, batches_per_cycle=None, score_every=1)


def count_steps(schedule: Schedule, examples: int) -> int:
    """Steps of a whole run on so many training examples."""
    return schedule.cycles * schedule.minibatches(0, examples)


def on_the_grid(
    posed: Posed, optimizer: optax.GradientTransformation
) -> optax.GradientTransformation:
    """Steps that end on the grid of the network's weights, if they have one."""
    return optimizer if posed.grid is None else stay_on_grid(optimizer, posed.grid)


def check_above_zero(name: str, value: float) -> None:
    """Refuse a number that is not above 0 and finite."""
    if not 0 < value < math.inf:
        raise UserError(f"{option(name)} is {value}; it must be above 0 and finite")


def check_share(name: str, value: float | None) -> None:
    """Refuse a number outside [0, 1)."""
    if value is not None and not 0 <= value < 1:
        raise UserError(f"{option(name)} is {value}; it must be in [0, 1)")
