"""Settings of the search: random search optimisation, in its presets and of other pieces."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import jax
import optax
import tyro
from jax import Array
from jax.sharding import Mesh

from rso_jax.cli.flags import (
    NAME,
    OPTIMIZER,
    QUIET,
    Layers,
    OptionalFloat,
    OptionalInt,
    OptionalName,
    Several,
    SeveralInts,
    option,
)
from rso_jax.cli.methods.on_grid import propose_on_grid
from rso_jax.cli.methods.pieces import (
    DISTANCES,
    JOINT_STEPS,
    LOSSES,
    MINIBATCHES,
    ORDERS,
    OTHER_PROPOSALS,
    PROPOSALS,
    TIES,
)
from rso_jax.cli.methods.schedule import (
    DEFAULT_CYCLES,
    OTHERWISE_CYCLES,
    MethodSettings,
    Schedule,
    check_at_least_one,
    check_from_zero,
    check_shares,
    check_sizes,
)
from rso_jax.cli.problem import Posed, use_precision
from rso_jax.errors import UserError, check_name
from rso_jax.incremental import bfloat16_products
from rso_jax.mesh import CANDIDATE, size_of
from rso_jax.networks import loss_of
from rso_jax.networks.grids import is_kernel
from rso_jax.schedules import in_parts
from rso_jax.search import Search, acceptance, joint, proposals, rso
from rso_jax.search.joint import Block, check_block
from rso_jax.search.presets import PRESETS
from rso_jax.trees import named_leaves

DEFAULT_MEMORY_GIB = 8.0


@dataclass(frozen=True)
class Pieces:
    """What a search is made of, where it is not as the preset says."""

    proposal: OptionalName = None
    """normal, uniform or fixed distances, sign-flip or ternary."""
    pairs: int = 1
    """Distances tried per visit, both ways."""
    minibatches: OptionalName = None
    """Of a visit: cycled, fresh, per-column, per-leaf or per-cycle."""
    batches_per_cycle: OptionalInt = None
    """Mini-batches of a cycle; by default all of them."""
    block: Several = ()
    """Weights decided at once, by default 1: a number,
    column or leaf; several for parts of the run."""
    joint_step: OptionalName = None
    """Of a block: accepted, together; else parabola."""
    temperature: float = 0.0
    """Metropolis temperature."""
    ties: OptionalName = None
    """Of equal losses: draw, or move away; else keep."""
    loss: OptionalName = None
    """zero-one, or errors-first; else cross-entropy."""
    weight_decay: OptionalFloat = None
    """Share by which a weight shrinks at each visit."""
    order: Annotated[str, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = "last-to-first"
    """first-to-last or random; else last-to-first."""
    activations: Annotated[str, NAME] = "float32"
    """Of products: float32, bfloat16."""
    memory_gib: OptionalFloat = None
    """Memory for intermediate results; by default 8."""
    look_ahead: int = 0
    """With --heads: losses skipped."""
    only: Layers = ()
    """Layers to train, such as conv6; by default all."""


@dataclass(frozen=True)
class Rso(MethodSettings):
    """Random search optimisation: no gradients, one weight or block of weights at a time."""

    optimizer: Annotated[Literal["rso"], OPTIMIZER] = "rso"
    preset: Annotated[str, NAME] = "authors_code"
    """authors_code or paper."""
    cycles: OptionalInt = None
    """Passes over all weights; by default 3 for digits, else 50."""
    batch_size: SeveralInts = ()
    """Of a mini-batch, by default 5000 or all; several for parts of a run."""
    search: Annotated[Pieces, QUIET] = Pieces()

    @property
    def unit(self) -> str:
        """What a cycle is called."""
        return "cycles"

    @property
    def title(self) -> str:
        """The method in a few words."""
        return f"{self.optimizer}, preset {self.preset}"

    @property
    def whole_products(self) -> bool:
        """Unless they are asked for rounded: decisions hang on small differences."""
        return self.search.activations == "float32"

    @property
    def loss(self) -> Callable[..., Array]:
        """``loss(logits, labels)`` of a mini-batch."""
        conventions = self.conventions
        return partial(
            LOSSES[self.search.loss or "cross-entropy"],
            reduction=conventions.loss_reduction,
            precision=conventions.loss_precision,
        )

    def check(self) -> None:
        """Refuse settings that no data set makes valid."""
        super().check()
        if self.preset not in PRESETS:
            raise UserError(
                f"--preset {self.preset} is of slopes, not of rso; pass --optimizer slopes "
                f"--preset {self.preset}"
            )
        check_at_least_one("batches_per_cycle", self.search.batches_per_cycle)
        check_from_zero("look_ahead", self.search.look_ahead)
        _check_pieces(self.search)
        if self.search.joint_step is not None and not self.search.block:
            raise UserError(
                f"--joint-step is {self.search.joint_step} but weights are decided one at a time; "
                "say how many at once with --block"
            )

    def settle(self, data_name: str, examples: int) -> Schedule:
        """Fill in what was left to the data and the preset."""
        sizes = self.batch_size or (min(self.conventions.batch_size, examples),)
        cycles = self.cycles or DEFAULT_CYCLES.get(data_name, OTHERWISE_CYCLES)
        check_shares("batch_size", sizes, cycles)
        check_shares("block", self.search.block, cycles)
        check_sizes(sizes, examples)
        return Schedule(
            cycles, sizes, batches_per_cycle=self.search.batches_per_cycle, score_every=1
        )

    def method(self, posed: Posed, schedule: Schedule, mesh: Mesh | None) -> Search:
        """The search, which is a method and tells its costs besides."""
        loss_fn = loss_of(posed.network, self.loss)
        if self.search.activations == "bfloat16":
            loss_fn = bfloat16_products(loss_fn)
        search = rso(
            loss_fn,
            reduction=self.conventions.loss_reduction,
            look_ahead=self.search.look_ahead,
            searched=posed.choose_layers(self.search.only),
            mesh=mesh,
            donate=True,
            **_on_grid(posed, self.search, _keywords(self, schedule.cycles)),
        )
        if size_of(mesh, CANDIDATE) > 1:
            _check_mesh(self, search, posed, schedule)
        return search


def _check_pieces(pieces: Pieces) -> None:
    if pieces.weight_decay is not None and not 0 <= pieces.weight_decay < 1:
        raise UserError(f"--weight-decay is {pieces.weight_decay}; it must be in [0, 1)")
    if pieces.memory_gib is not None and not 0 <= pieces.memory_gib < math.inf:
        raise UserError(f"--memory-gib is {pieces.memory_gib}; it must be 0 or more and finite")
    if not 1 <= pieces.pairs <= 63:
        raise UserError(f"--pairs is {pieces.pairs}; it must be from 1 to 63")
    if pieces.pairs > 1 and pieces.proposal in ("fixed", *OTHER_PROPOSALS):
        raise UserError(
            f"--pairs is {pieces.pairs} but --proposal {pieces.proposal} tries the same each time; "
            "use normal or uniform"
        )
    for size in pieces.block:
        if size not in ("column", "leaf") and not (size.isdecimal() and int(size)):
            raise UserError(f"--block is {size}; it must be 1 or more, column or leaf")
    if not 0 <= pieces.temperature < math.inf:
        raise UserError(f"--temperature is {pieces.temperature}; it must be 0 or more and finite")
    for name, known in (
        ("proposal", PROPOSALS),
        ("joint_step", JOINT_STEPS),
        ("minibatches", MINIBATCHES),
        ("ties", TIES),
        ("loss", LOSSES),
        ("order", ORDERS),
        ("activations", ("float32", "bfloat16")),
    ):
        value = getattr(pieces, name)
        if value is not None:
            check_name(option(name), value, known)
    if pieces.temperature and pieces.ties is not None:
        raise UserError(
            f"--ties is {pieces.ties} but --temperature {pieces.temperature} takes a tie like any "
            "other candidate; leave one of them out"
        )


def _keywords(settings: Rso, cycles: int) -> dict[str, Any]:
    """Keyword arguments of ``rso``: the preset's, and what is said otherwise."""
    pieces, found = settings.search, PRESETS[settings.preset](cycles)
    if pieces.weight_decay is not None:
        found["weight_decay"] = pieces.weight_decay
    if pieces.minibatches is not None:
        found["minibatches"] = MINIBATCHES[pieces.minibatches]
    if pieces.temperature:
        cooling = optax.linear_schedule(pieces.temperature, 0.0, max(cycles - 1, 1))
        found["acceptance"] = acceptance.metropolis(cooling)
    elif pieces.ties is not None:
        found["acceptance"] = TIES[pieces.ties]
    if pieces.proposal in OTHER_PROPOSALS:
        found["proposal"] = OTHER_PROPOSALS[pieces.proposal]
    elif pieces.proposal is not None or pieces.pairs > 1:
        distance = DISTANCES[pieces.proposal or "normal"]
        found["proposal"] = proposals.antithetic(distance, pairs=pieces.pairs)
    if pieces.block:
        blocks = _blocks(pieces)
        # As a function it reads the cycle, which waits for the device.
        found["block"] = in_parts(blocks, cycles) if len(blocks) > 1 else blocks[0]
    gib = DEFAULT_MEMORY_GIB if pieces.memory_gib is None else pieces.memory_gib
    return found | {"order": ORDERS[pieces.order], "memory_budget": int(gib * 2**30)}


def _on_grid(posed: Posed, pieces: Pieces, keywords: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments that leave the network's weights on their grid, if they have one.

    Raises:
        UserError: pieces that would not.
    """
    if posed.grid is None:
        return keywords
    if pieces.weight_decay:
        raise UserError(
            f"--weight-decay is {pieces.weight_decay} but --weights {posed.weights} cannot shrink; "
            "leave one of them out"
        )
    if pieces.proposal in OTHER_PROPOSALS:
        raise UserError(
            f"--proposal is {pieces.proposal} but --weights {posed.weights} says itself what is "
            "tried; leave one of them out"
        )
    described = named_leaves(posed.describe_params())
    kernels = {path: leaf for path, leaf in described.items() if is_kernel(leaf)}
    others = keywords.get("proposal", proposals.normal)
    proposal = propose_on_grid(posed.weights, kernels, others)
    return keywords | {"proposal": proposal, "weight_decay": 0.0}


def _blocks(pieces: Pieces) -> list[Block]:
    """Blocks of the sizes and with the joint step asked for."""
    step = JOINT_STEPS[pieces.joint_step or "parabola"]
    sizes: list[Any] = [int(size) if size.isdecimal() else size for size in pieces.block]
    probe = step is not joint.together
    return [check_block(Block(size, step, probe)) for size in sizes]


def _check_mesh(settings: Rso, search: Search, posed: Posed, schedule: Schedule) -> None:
    """Plan every sweep without computing anything, to find a mesh it cannot use."""
    with use_precision(settings.conventions, settings.whole_products):
        params, seen = posed.describe_params(), set()
        for cycle in range(schedule.cycles):
            size = schedule.batch_size(cycle)
            sizes = size, in_parts(settings.search.block or ("",), schedule.cycles)(cycle)
            if sizes in seen:
                continue
            seen.add(sizes)
            count = schedule.minibatches(cycle, posed.examples)
            stack = {
                "image": jax.ShapeDtypeStruct(
                    (count, size, *posed.shape), posed.data.x_train.dtype
                ),
                "label": jax.ShapeDtypeStruct((count, size), posed.data.y_train.dtype),
            }
            search.cost(params, stack, cycle)
