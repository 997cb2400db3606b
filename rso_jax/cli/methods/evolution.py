"""Settings of methods that move all weights at random: Open_ES, PGPE, SNES and SPSA."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from jax.sharding import Mesh

from rso_jax.baselines import cosine_adam, evolution_method, open_es, pgpe, snes, spsa_method
from rso_jax.cli.flags import OPTIMIZER, QUIET
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
class Ranked(Population):
    """A generation of SNES and its rates."""

    learning_rate: float = 1.0
    """Rate of the first step, 1 as published; it falls to 0 as a cosine."""


@dataclass(frozen=True)
class Evolution(Baseline):
    """All weights moved at random, many times a step, on a cosine schedule."""

    evolution: Annotated[Population, QUIET] = Population()

    def check(self) -> None:
        """Refuse settings that no data set makes valid."""
        super().check()
        check_above_zero("learning_rate", self.evolution.learning_rate)
        check_above_zero("sigma", self.evolution.sigma)
        population = self.evolution.population
        if population < 2 or population % 2:
            raise UserError(f"--population is {population}; it must be even, and at least 2")


@dataclass(frozen=True)
class Strategy(Evolution):
    """An evolution strategy, by evosax."""

    strategy: ClassVar[Callable[..., Any]]

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
        losses = loss_of(posed.rounded, self.loss)
        return evolution_method(losses, strategy, mesh=mesh, donate=True)


@dataclass(frozen=True)
class OpenEs(Strategy):
    """Open_ES."""

    optimizer: Annotated[Literal["open-es"], OPTIMIZER] = "open-es"

    strategy: ClassVar[Callable[..., Any]] = staticmethod(open_es)


@dataclass(frozen=True)
class Pgpe(Strategy):
    """PGPE."""

    optimizer: Annotated[Literal["pgpe"], OPTIMIZER] = "pgpe"

    strategy: ClassVar[Callable[..., Any]] = staticmethod(pgpe)


@dataclass(frozen=True)
class Snes(Strategy):
    """SNES."""

    optimizer: Annotated[Literal["snes"], OPTIMIZER] = "snes"
    evolution: Annotated[Ranked, QUIET] = Ranked()

    strategy: ClassVar[Callable[..., Any]] = staticmethod(snes)


@dataclass(frozen=True)
class Spsa(Evolution):
    """SPSA: pairs of a population along random signs, and Adam along what they tell."""

    optimizer: Annotated[Literal["spsa"], OPTIMIZER] = "spsa"

    def method(self, posed: Posed, schedule: Schedule, mesh: Mesh | None) -> Method:
        """SPSA as a method."""
        check_candidates(mesh, self.evolution.population)
        updates = cosine_adam(
            learning_rate=self.evolution.learning_rate,
            steps=count_steps(schedule, posed.examples),
        )
        return spsa_method(
            loss_of(posed.rounded, self.loss),
            updates,
            eps=self.evolution.sigma,
            pairs=self.evolution.population // 2,
            mesh=mesh,
            donate=True,
        )
