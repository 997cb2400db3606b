"""Settings of the gradient methods: SGD with momentum, and Adam."""

from dataclasses import dataclass
from typing import Annotated, Literal

from jax.sharding import Mesh

from rso_jax.baselines import cosine_adam, cosine_sgd, gradient_method
from rso_jax.cli.flags import OPTIMIZER, QUIET
from rso_jax.cli.methods.baselines import (
    Baseline,
    check_above_zero,
    check_share,
    count_steps,
    on_the_grid,
)
from rso_jax.cli.methods.schedule import Schedule
from rso_jax.cli.problem import Posed
from rso_jax.method import Method
from rso_jax.networks import loss_of


@dataclass(frozen=True)
class SgdRates:
    """Rates of SGD."""

    learning_rate: float = 0.1
    """Rate of the first step; it falls to 0 as a cosine."""
    momentum: float = 0.9
    """Share of a step that the next one repeats."""
    weight_decay: float = 0.0
    """L2 coefficient."""


@dataclass(frozen=True)
class Sgd(Baseline):
    """SGD with momentum, by optax, on a cosine schedule."""

    optimizer: Annotated[Literal["sgd"], OPTIMIZER] = "sgd"
    sgd: Annotated[SgdRates, QUIET] = SgdRates()

    def check(self) -> None:
        """Refuse settings that no data set makes valid."""
        super().check()
        check_above_zero("learning_rate", self.sgd.learning_rate)
        check_share("momentum", self.sgd.momentum)
        check_share("weight_decay", self.sgd.weight_decay)

    def method(self, posed: Posed, schedule: Schedule, mesh: Mesh | None) -> Method:
        """SGD as a method."""
        updates = cosine_sgd(
            learning_rate=self.sgd.learning_rate,
            steps=count_steps(schedule, posed.examples),
            momentum=self.sgd.momentum,
            weight_decay=self.sgd.weight_decay,
        )
        updates = on_the_grid(posed, updates)
        return gradient_method(loss_of(posed.network, self.loss), updates, mesh=mesh, donate=True)


@dataclass(frozen=True)
class AdamRates:
    """Rates of Adam."""

    learning_rate: float = 0.003
    """Rate of the first step; it falls to 0 as a cosine."""
    weight_decay: float = 0.0
    """Decoupled from the gradient, as in AdamW."""


@dataclass(frozen=True)
class Adam(Baseline):
    """Adam, by optax, on a cosine schedule."""

    optimizer: Annotated[Literal["adam"], OPTIMIZER] = "adam"
    adam: Annotated[AdamRates, QUIET] = AdamRates()

    def check(self) -> None:
        """Refuse settings that no data set makes valid."""
        super().check()
        check_above_zero("learning_rate", self.adam.learning_rate)
        check_share("weight_decay", self.adam.weight_decay)

    def method(self, posed: Posed, schedule: Schedule, mesh: Mesh | None) -> Method:
        """Adam as a method."""
        updates = cosine_adam(
            learning_rate=self.adam.learning_rate,
            steps=count_steps(schedule, posed.examples),
            weight_decay=self.adam.weight_decay,
        )
        updates = on_the_grid(posed, updates)
        return gradient_method(loss_of(posed.network, self.loss), updates, mesh=mesh, donate=True)
