"""Settings of the evolution strategies Open_ES and PGPE."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from jax.sharding import Mesh

from rso_jax.baselines import evolution_method, open_es, pgpe
from rso_jax.cli.flags import NAME, QUIET
from rso_jax.cli.methods.baselines import Baseline, check_above_zero, count_steps
from rso_jax.cli.methods.schedule import Schedule
from rso_jax.cli.problem import Posed
from rso_jax.errors import UserError
from rso_jax.mesh import check_candidates
from rso_jax.method import Method
from rso_jax.networks import loss_of


@dataclass(frozen=True)
class Population:
    """A generation and its rates."""

    learning_rate: float = 0.01
    """Rate of the first step; it falls to 0 as a cosine."""
    population: int = 64
    """Members of a generation, an even number."""
    sigma: float = 0.05
    """Standard deviation of the (first) perturbations."""


@dataclass(frozen=True)
class Evolution(Baseline):
    """An evolution strategy, by evosax, on a cosine schedule."""

    evolution: Annotated[Population, QUIET] = Population()

    strategy: ClassVar[Callable[..., Any]]

    def check(self) -> None:
        """Refuse settings that no data set makes valid."""
        super().check()
        check_above_zero("learning_rate", self.evolution.learning_rate)
        check_above_zero("sigma", self.evolution.sigma)
        population = self.evolution.population
        if population < 2 or population % 2:
            raise UserError(f"--population is {population}; it must be even, and at least 2")

    def method(self, posed: Posed, schedule: Schedule, mesh: Mesh | None) -> Method:
        """The strategy as a method."""
        if importlib.util.find_spec("evosax") is None:
            raise UserError(
                f"--optimizer {self.optimizer} needs evosax; install the extra rso_jax[evolution]"
            )
        check_candidates(mesh, self.evolution.population)
        strategy = type(self).strategy(
            population=self.evolution.population,
            sigma=self.evolution.sigma,
            learning_rate=self.evolution.learning_rate,
            steps=count_steps(schedule, posed.examples),
        )
        return evolution_method(loss_of(posed.network, self.loss), strategy, mesh=mesh, donate=True)


@dataclass(frozen=True)
class OpenEs(Evolution):
    """Open_ES."""

    optimizer: Annotated[Literal["open-es"], NAME] = "open-es"
    """rso, sgd, adam, open-es or pgpe."""

    strategy: ClassVar[Callable[..., Any]] = staticmethod(open_es)


@dataclass(frozen=True)
class Pgpe(Evolution):
    """PGPE."""

    optimizer: Annotated[Literal["pgpe"], NAME] = "pgpe"
    """rso, sgd, adam, open-es or pgpe."""

    strategy: ClassVar[Callable[..., Any]] = staticmethod(pgpe)
