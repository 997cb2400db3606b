"""Settings of descent along slopes that evaluations alone tell."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal, Self

import optax
import tyro
from jax.sharding import Mesh

from rso_jax.cli.flags import (
    NAME,
    OPTIMIZER,
    QUIET,
    Layers,
    OptionalFloat,
    OptionalInt,
    OptionalName,
    option,
)
from rso_jax.cli.methods.baselines import (
    Baseline,
    check_above_zero,
    check_share,
    count_steps,
    on_the_grid,
)
from rso_jax.cli.methods.schedule import (
    OTHERWISE_CYCLES,
    LossOfLogits,
    Schedule,
    check_at_least_one,
    check_from_zero,
    check_sizes,
)
from rso_jax.cli.problem import Posed
from rso_jax.errors import UserError, check_name
from rso_jax.networks import cross_entropy, loss_of
from rso_jax.networks.models import gives_logits
from rso_jax.slopes import Slopes as SlopesMethod
from rso_jax.slopes import probes, slopes_method, spectral
from rso_jax.slopes.column import Size
from rso_jax.slopes.planning import ProbesOfLeaves
from rso_jax.slopes.probes import Probes
from rso_jax.slopes.steps import STEPS
from rso_jax.trees import named_leaves

SPECTRAL = "spectral"
CHOICES = {
    "probes": ("cheapest", "nodes", "weights", "towards"),
    "positions": ("each", "together"),
    "step": tuple(STEPS),
    "leaves": ("together", "in-turn"),
}


RATES = {"sgd": 0.1, "adamw": 0.003, "muon": 0.1}
"""Learning rate of each step where the command line does not say; of the first."""
MOMENTUM = 0.9


@dataclass(frozen=True)
class Pieces:
    """How slopes are learned, and the step along them."""

    probes: OptionalName = None
    """cheapest by default, nodes, weights, or towards:
    nodes towards 0, for signs."""
    positions: OptionalName = None
    """Pixels, say, of a node: each by default, or
    together, which is one evaluation and noisy."""
    eps: OptionalFloat = None
    """Size of a move; by default 0.02 of nodes, 0.01 of
    weights (a scale less), 0.25 towards."""
    step: OptionalName = None
    """sgd by default, adamw or muon."""
    learning_rate: OptionalFloat = None
    """Rate of the first step, by default 0.1, of adamw
    0.003; it falls to 0 as a cosine."""
    momentum: OptionalFloat = None
    """Share of a step that the next one repeats; by default 0.9."""
    weight_decay: OptionalFloat = None
    """Share of kernels, times the rate, lost by a step."""
    batches_per_cycle: OptionalInt = None
    """Mini-batches of a cycle; by default all of them."""
    leaves: OptionalName = None
    """together by default, or in-turn, a batch each."""
    average: OptionalFloat = None
    """Decay of a mean of weights, which is then scored."""
    look_ahead: int = 0
    """With --heads: losses skipped."""
    only: Layers = ()
    """Layers to train, such as conv6; by default all."""


@dataclass(frozen=True)
class Slopes(Baseline):
    """Any step of optax along slopes from evaluations alone, on a cosine schedule."""

    optimizer: Annotated[Literal["slopes"], OPTIMIZER] = "slopes"
    preset: Annotated[str, NAME] = "authors_code"
    """authors_code or paper: input and loss; spectral: all."""
    cycles: OptionalInt = None
    """Epochs; by default 3 for digits, 50 otherwise. Of
    spectral 20 mini-batches each, by default 150."""
    batch_size: Annotated[tuple[int, ...], tyro.conf.arg(metavar="INT", help_behavior_hint="")] = ()
    """Examples in a mini-batch; by default 128, or all
    there are, of spectral 64."""
    slopes: Annotated[Pieces, QUIET] = Pieces()

    @property
    def title(self) -> str:
        """The method in a few words."""
        if self.preset == SPECTRAL:
            return f"{self.optimizer}, preset {self.preset}"
        pieces = self.fill_in().slopes
        return f"{self.optimizer}, {pieces.probes} probes, {pieces.step}"

    @property
    def in_turn(self) -> bool:
        """Whether arrays move one after the other, each in a step of its own."""
        return self.preset == SPECTRAL or self.slopes.leaves == "in-turn"

    @property
    def unit(self) -> str:
        """What a cycle is called."""
        part = self.preset == SPECTRAL or self.slopes.batches_per_cycle is not None
        return "cycles" if part else super().unit

    @property
    def loss(self) -> LossOfLogits:
        """``loss(logits, labels)``: of every example of a mini-batch."""
        precision = self.conventions.loss_precision
        return partial(cross_entropy, reduction="none", precision=precision)

    def fill_in(self) -> Self:
        """These settings, with what was left to the step and the probes said.

        Nothing of the spectral preset, which says all of it itself.
        """
        pieces = self.slopes
        if self.preset == SPECTRAL:
            return self
        step = pieces.step or "sgd"
        ways = pieces.probes or "cheapest"
        said = Pieces(
            probes=ways,
            positions=None if ways == "weights" else pieces.positions or "each",
            eps=pieces.eps,
            step=step,
            learning_rate=_either(pieces.learning_rate, RATES[step]),
            momentum=_either(pieces.momentum, MOMENTUM),
            weight_decay=_either(pieces.weight_decay, 0.0),
            batches_per_cycle=pieces.batches_per_cycle,
            leaves=pieces.leaves or "together",
            average=pieces.average,
            look_ahead=pieces.look_ahead,
            only=pieces.only,
        )
        return replace(self, slopes=said)

    def check(self) -> None:
        """Refuse settings that no data set makes valid."""
        super().check()
        check_at_least_one("batches_per_cycle", self.slopes.batches_per_cycle)
        check_from_zero("look_ahead", self.slopes.look_ahead)
        given = {name: value for name, value in asdict(self.slopes).items() if value is not None}
        for of_any_preset in ("batches_per_cycle", "look_ahead", "only"):
            given.pop(of_any_preset, None)
        if self.preset == SPECTRAL:
            for name, value in given.items():
                raise UserError(
                    f"{option(name)} is {value} but --preset {SPECTRAL} says that itself; leave "
                    "one of them out"
                )
        for name, known in CHOICES.items():
            if name in given:
                check_name(option(name), given[name], known)
        _check_numbers(given)
        _check_together(given)

    def settle(self, data_name: str, examples: int) -> Schedule:
        """Fill in what was left to the data and the preset."""
        if self.preset != SPECTRAL:
            found = super().settle(data_name, examples)
            return found._replace(batches_per_cycle=self.slopes.batches_per_cycle)
        conventions = self.conventions
        sizes = self.batch_size or (min(conventions.batch_size, examples),)
        check_sizes(sizes, examples)
        cycles = self.cycles or conventions.cycles or OTHERWISE_CYCLES
        return Schedule(
            cycles,
            sizes,
            batches_per_cycle=self.slopes.batches_per_cycle or conventions.batches_per_cycle,
            score_every=max(1, cycles // (conventions.evaluations or cycles)),
        )

    def method(self, posed: Posed, schedule: Schedule, mesh: Mesh | None) -> SlopesMethod:
        """The descent, which is a method and tells its costs besides."""
        losses, look_ahead = loss_of(posed.network, self.loss), self.slopes.look_ahead
        searched = posed.choose_layers(self.slopes.only)
        steps = count_steps(schedule, posed.examples)
        if self.in_turn:  # then each array counts its own
            paths = named_leaves(posed.describe_params())
            steps = math.ceil(steps / sum(searched is None or searched(path) for path in paths))
        if self.preset == SPECTRAL:
            if posed.grid is not None:
                raise UserError(
                    f"--preset {SPECTRAL} steps real numbers, not --weights {posed.weights}; leave "
                    "one of them out"
                )
            told: dict[str, Any] = {"look_ahead": look_ahead, "searched": searched}
            return spectral(losses, steps, **told, mesh=mesh, donate=True)
        said = asdict(self.fill_in().slopes)
        return slopes_method(
            losses,
            on_the_grid(posed, _optimizer(said, steps)),
            _probes(said, meeting=posed.norm == "batch"),
            leaves="in_turn" if self.in_turn else "together",
            average=said["average"],
            look_ahead=look_ahead,
            searched=searched,
            mesh=mesh,
            donate=True,
        )


def _either(value: Any, default: Any) -> Any:
    return default if value is None else value


def _check_numbers(given: dict[str, Any]) -> None:
    for name in ("eps", "learning_rate"):
        if name in given:
            check_above_zero(name, given[name])
    for name in ("momentum", "weight_decay"):
        check_share(name, given.get(name))
    average = given.get("average")
    if average is not None and not 0 < average < 1:
        raise UserError(f"--average is {average}; it must be between 0 and 1, such as 0.99")


def _check_together(given: dict[str, Any]) -> None:
    """Refuse settings that do not go with one another."""
    if "positions" in given and given.get("probes") == "weights":
        raise UserError(
            f"--positions is {given['positions']} but --probes weights moves no nodes; leave one "
            "of them out"
        )


def _optimizer(said: Mapping[str, Any], steps: int) -> optax.GradientTransformation:
    """The step, its rate falling to 0 as a cosine."""
    schedule = optax.cosine_decay_schedule(said["learning_rate"], steps)
    return STEPS[said["step"]](schedule, said["momentum"], said["weight_decay"])


def _probes(said: Mapping[str, Any], *, meeting: bool) -> ProbesOfLeaves:
    """The way to probe.

    Args:
        said: settings, filled in.
        meeting: whether examples meet in batch norm, so that nodes alone would be biased.
    """
    eps = {} if said["eps"] is None else {"eps": said["eps"]}
    if said["probes"] == "weights":
        return probes.weights(**eps)
    if said["probes"] == "towards":
        steep = _else_weights(probes.towards(positions=said["positions"], **eps), probes.MOVE)
        smooth = _else_weights(probes.nodes(positions=said["positions"]), probes.MOVE)
        return lambda path: smooth if gives_logits(path) else steep
    alone = probes.nodes(positions=said["positions"], **eps)
    common = probes.nodes(positions=said["positions"], common=True, **eps)
    if said["probes"] == "cheapest":
        return probes.cheapest(probes.weights(**eps), alone, common)
    return _else_weights(common if meeting else alone)


def _else_weights(nodes: Probes, eps: float | None = None) -> Probes:
    """Nodes where they can be probed, weights elsewhere: a scale in batch norm has no nodes.

    Args:
        nodes: how they are probed.
        eps: of weights; before steps no shorter than a hundredth, or nothing is crossed.
    """
    weights = probes.weights(eps)

    def evaluations(size: Size) -> int | None:
        return weights.evaluations(size) if nodes.evaluations(size) is None else None

    return probes.cheapest(nodes, weights._replace(evaluations=evaluations))
