"""From settings to what the loop takes: data, network, method."""

import contextlib
import importlib.util
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh

from rso_jax.baselines import (
    cosine_adam,
    cosine_sgd,
    evolution_method,
    gradient_method,
    open_es,
    pgpe,
)
from rso_jax.cli.checks import check_parts, check_settings
from rso_jax.cli.config import EVOLUTION, Train
from rso_jax.cli.devices import choose_mesh
from rso_jax.cli.pieces import DISTANCES, JOINT_STEPS, MINIBATCHES, ORDERS, OTHER_PROPOSALS
from rso_jax.cli.problem import pose
from rso_jax.data import Dataset
from rso_jax.errors import UserError
from rso_jax.incremental import bfloat16_products
from rso_jax.mesh import CANDIDATE, check_candidates
from rso_jax.method import Method
from rso_jax.networks import Network, cross_entropy, loss_of
from rso_jax.schedules import in_parts
from rso_jax.search import Search, acceptance, joint, presets, proposals, rso
from rso_jax.search.joint import Block, check_block
from rso_jax.search.leaves import LossFn
from rso_jax.search.presets import PRESETS

PyTree = Any


class Assembly(NamedTuple):
    """What a run consists of."""

    config: Train
    """With every default filled in."""
    data: Dataset
    """Normalised."""
    data_summary: dict[str, Any]
    """What identifies the data, to compare on resume and evaluation."""
    network: Network
    conventions: presets.Conventions
    loss_fn: LossFn
    method: Method
    search: Search | None
    """What the method is made of, unless it is a baseline."""
    mesh: Mesh | None
    """Devices that share the work; None for one."""


def assemble(config: Train, *, on_mesh: bool = False) -> Assembly:
    """Load the data and build network and method, checking every setting.

    Args:
        config: as given.
        on_mesh: for all devices that it asks for, instead of one.

    Raises:
        UserError: a setting that cannot work, before any training.
    """
    check_settings(config)
    problem = pose(config)
    config, data, conventions = problem.config, problem.data, problem.conventions
    check_parts(config)
    if (largest := max(config.batch_size)) > len(data.y_train):
        raise UserError(
            f"--batch-size is {largest} but there are {len(data.y_train)} training examples; "
            "choose one that is no larger"
        )
    mesh = choose_mesh(config.mesh, config.batch_size) if on_mesh else None
    reduction = conventions.loss_reduction if config.optimizer == "rso" else "mean"
    loss = partial(cross_entropy, reduction=reduction, precision=conventions.loss_precision)
    loss_fn = loss_of(problem.network, loss)
    if config.activations == "bfloat16":
        loss_fn = bfloat16_products(loss_fn)
    search = _search(config, loss_fn, mesh) if config.optimizer == "rso" else None
    method: Method = search or _baseline(config, loss_fn, len(data.y_train), mesh)
    if search is not None and mesh is not None and mesh.shape[CANDIDATE] > 1:
        _plan(search, problem.network, data, config, conventions)
    return Assembly(*problem, loss_fn, method, search, mesh)


def _plan(
    search: Search, network: Network, data: Dataset, config: Train, conventions: presets.Conventions
) -> None:
    """Plan every sweep without computing anything, to find a mesh it cannot use."""
    assert config.cycles is not None
    image = jax.ShapeDtypeStruct((1, *data.x_train.shape[1:]), data.x_train.dtype)
    with precision_of(conventions):
        params = jax.eval_shape(network.init, jax.random.key(0), image)
        seen = set()
        for cycle in range(config.cycles):
            size = in_parts(config.batch_size, config.cycles)(cycle)
            sizes = size, in_parts(config.block or ("",), config.cycles)(cycle)
            if sizes in seen:
                continue
            seen.add(sizes)
            shape = min(len(data.y_train) // size, config.stacked or len(data.y_train)), size
            search.cost(
                params,
                {
                    "image": jax.ShapeDtypeStruct((*shape, *image.shape[1:]), image.dtype),
                    "label": jax.ShapeDtypeStruct(shape, data.y_train.dtype),
                },
                cycle,
            )


def _baseline(config: Train, loss_fn: LossFn, examples: int, mesh: Mesh | None) -> Method:
    assert config.cycles is not None and config.learning_rate is not None
    rate, steps = config.learning_rate, config.cycles * (examples // config.batch_size[0])
    if config.optimizer in EVOLUTION:
        assert config.population is not None and config.sigma is not None
        if importlib.util.find_spec("evosax") is None:
            raise UserError(
                f"--optimizer {config.optimizer} needs evosax; install the extra rso_jax[evolution]"
            )
        check_candidates(mesh, config.population)
        strategy = open_es if config.optimizer == "open-es" else pgpe
        return evolution_method(
            loss_fn,
            strategy(
                population=config.population,
                sigma=config.sigma,
                learning_rate=rate,
                steps=steps,
            ),
            mesh=mesh,
            donate=True,
        )
    decay = config.weight_decay or 0.0
    if config.optimizer == "adam":
        adam = cosine_adam(learning_rate=rate, steps=steps, weight_decay=decay)
        return gradient_method(loss_fn, adam, mesh=mesh, donate=True)
    assert config.momentum is not None
    sgd = cosine_sgd(learning_rate=rate, steps=steps, momentum=config.momentum, weight_decay=decay)
    return gradient_method(loss_fn, sgd, mesh=mesh, donate=True)


def _search(config: Train, loss_fn: LossFn, mesh: Mesh | None) -> Search:
    assert config.cycles is not None and config.memory_gib is not None
    settings = PRESETS[config.preset](config.cycles)
    if config.weight_decay is not None:
        settings["weight_decay"] = config.weight_decay
    if config.minibatches is not None:
        settings["minibatches"] = MINIBATCHES[config.minibatches]
    if config.temperature:
        cooling = optax.linear_schedule(config.temperature, 0.0, max(config.cycles - 1, 1))
        settings["acceptance"] = acceptance.metropolis(cooling)
    if config.proposal in OTHER_PROPOSALS:
        settings["proposal"] = OTHER_PROPOSALS[config.proposal]
    elif config.proposal is not None or config.pairs > 1:
        distance = DISTANCES[config.proposal or "normal"]
        settings["proposal"] = proposals.antithetic(distance, pairs=config.pairs)
    if config.block or config.joint_step:
        blocks = _blocks(config, settings.get("block"))
        # As a function it reads the cycle, which waits for the device.
        settings["block"] = in_parts(blocks, config.cycles) if len(blocks) > 1 else blocks[0]
    settings["memory_budget"] = int(config.memory_gib * 2**30)
    return rso(
        loss_fn,
        order=ORDERS[config.order],
        mesh=mesh,
        donate=True,
        reduction=presets.CONVENTIONS[config.preset].loss_reduction,
        **settings,
    )


def _blocks(config: Train, block: Block | None) -> list[Block]:
    """The preset's block, if it has one, in the sizes and with the joint step asked for."""
    block = block or Block(1, joint.parabola())
    if config.joint_step is not None:
        step = JOINT_STEPS[config.joint_step]
        block = block._replace(step=step, probe=step is not joint.together)
    if not config.block:
        return [block]
    return [check_block(block._replace(size=_number_or_name(size))) for size in config.block]


def _number_or_name(size: str) -> Any:
    return int(size) if size.isdecimal() else size


@contextlib.contextmanager
def precision_of(conventions: presets.Conventions) -> Iterator[None]:
    """JAX's 64-bit mode while the loss needs it; weights and activations stay float32."""
    with jax.enable_x64(conventions.loss_precision == "float64"):
        yield
