"""What every method of training is told, and the schedule that follows from it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, NamedTuple, Self

from jax import Array
from jax.sharding import Mesh

from rso_jax.cli.flags import NAME, OPTIMIZER, OptionalInt, SeveralInts, option
from rso_jax.cli.problem import Posed
from rso_jax.errors import UserError, check_name
from rso_jax.method import Method
from rso_jax.networks import cross_entropy
from rso_jax.schedules import in_parts
from rso_jax.search.presets import CONVENTIONS, Conventions

DEFAULT_CYCLES = {"digits": 3}
OTHERWISE_CYCLES = 50


LossOfLogits = Callable[..., Array]


class Schedule(NamedTuple):
    """How long and on how much a method trains, once it is settled: nothing is left open."""

    cycles: int
    batch_sizes: tuple[int, ...]
    """Of equal parts of the cycles."""
    batches_per_cycle: int | None
    """Mini-batches drawn for a cycle; None for all that the data fill."""
    score_every: int
    """Cycles from one evaluation to the next."""

    def batch_size(self, cycle: int) -> int:
        """Examples in a mini-batch of a cycle, counted from 0."""
        return in_parts(self.batch_sizes, self.cycles)(cycle)

    def minibatches(self, cycle: int, examples: int) -> int:
        """How many mini-batches a cycle draws from so many training examples."""
        return min(examples // self.batch_size(cycle), self.batches_per_cycle or examples)


@dataclass(frozen=True)
class MethodSettings(ABC):
    """What every method is told; each has a class of its own, which adds its flags."""

    optimizer: Annotated[str, OPTIMIZER] = ""
    preset: Annotated[str, NAME] = "authors_code"
    """authors_code, paper or spectral: input and loss are taken from it."""
    cycles: OptionalInt = None
    """Epochs; by default 3 for digits, 50 otherwise."""
    batch_size: SeveralInts = ()
    """Examples in a mini-batch; by default 128."""

    @property
    def unit(self) -> str:
        """What a cycle is called."""
        return "epochs"

    @property
    def conventions(self) -> Conventions:
        """What the preset fixes outside the method."""
        return CONVENTIONS[self.preset]

    @property
    def title(self) -> str:
        """The method in a few words."""
        return self.optimizer

    @property
    def whole_products(self) -> bool:
        """Whether products need all digits of float32, as what compares losses of one step does."""
        return False

    @property
    def loss(self) -> LossOfLogits:
        """``loss(logits, labels)`` of a mini-batch."""
        return partial(cross_entropy, reduction="mean", precision=self.conventions.loss_precision)

    def check(self) -> None:
        """Refuse settings that no data set makes valid.

        Raises:
            UserError: the value and what it must be.
        """
        check_name("--preset", self.preset, CONVENTIONS)
        check_at_least_one("cycles", self.cycles)
        for size in self.batch_size:
            check_at_least_one("batch_size", size)

    def fill_in(self) -> Self:
        """These settings, with what was left to the method said: what config.json holds."""
        return self

    @abstractmethod
    def settle(self, data_name: str, examples: int) -> Schedule:
        """Fill in what was left to the data and the preset.

        Args:
            data_name: name of the data set.
            examples: training examples in use.

        Raises:
            UserError: mini-batches that these examples cannot fill.
        """

    @abstractmethod
    def method(self, posed: Posed, schedule: Schedule, mesh: Mesh | None) -> Method:
        """The method of these settings.

        Args:
            posed: what it trains.
            schedule: from ``settle``.
            mesh: devices that share the work; None for one.

        Raises:
            UserError: a mesh that it cannot use, or a library that is not there.
        """


def check_at_least_one(name: str, value: int | None) -> None:
    """Refuse a number below 1."""
    if value is not None and value < 1:
        raise UserError(f"{option(name)} is {value}; it must be at least 1")


def check_from_zero(name: str, value: int) -> None:
    """Refuse a number below 0."""
    if value < 0:
        raise UserError(f"{option(name)} is {value}; it must be at least 0")


def check_sizes(sizes: Sequence[int], examples: int) -> None:
    """Refuse a mini-batch of more examples than there are."""
    if (largest := max(sizes)) > examples:
        raise UserError(
            f"--batch-size is {largest} but there are {examples} training examples; "
            "choose one that is no larger"
        )


def check_shares(name: str, values: Sequence[Any], cycles: int) -> None:
    """Refuse more values than there are cycles to share out."""
    if len(values) > cycles:
        raise UserError(
            f"{option(name)} has {len(values)} values for {cycles} cycles; give at most one for "
            "each"
        )
