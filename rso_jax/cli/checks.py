"""Which settings of ``rso train`` cannot work, whatever the data."""

import math

from rso_jax.cli.config import EVOLUTION, Train
from rso_jax.cli.joining import check_flags
from rso_jax.cli.pieces import DISTANCES, JOINT_STEPS, MINIBATCHES, OTHER_PROPOSALS
from rso_jax.errors import UserError, check_name

PROPOSALS = (*DISTANCES, *OTHER_PROPOSALS)
SEARCH_ONLY = (
    *("stacked", "order", "proposal", "pairs", "block", "joint_step"),
    *("temperature", "minibatches", "activations"),
)
ONLY_FOR = dict.fromkeys(SEARCH_ONLY, ("rso",)) | {
    "weight_decay": ("rso", "sgd", "adam"),
    "learning_rate": ("sgd", "adam", *EVOLUTION),
    "momentum": ("sgd",),
    "population": EVOLUTION,
    "sigma": EVOLUTION,
}
"""Settings that only some optimisers take, and which."""


def check_settings(config: Train) -> None:
    """Refuse settings that no data set makes valid.

    Raises:
        UserError: the value and what it must be.
    """
    for name, optimizers in ONLY_FOR.items():
        if config.optimizer not in optimizers and getattr(config, name) != getattr(Train, name):
            raise UserError(
                f"{_option(name)} is for {' and '.join(optimizers)}; leave it out for "
                f"{config.optimizer}"
            )
    for name in ("cycles", "batch_size", "stacked", "score_every", "train_examples"):
        value = getattr(config, name)
        for one in value if isinstance(value, tuple) else (value,):
            if one is not None and one < 1:
                raise UserError(f"{_option(name)} is {one}; it must be at least 1")
    if config.optimizer != "rso" and len(config.batch_size) > 1:
        raise UserError(
            f"--batch-size has {len(config.batch_size)} values; --optimizer {config.optimizer} "
            "takes one"
        )
    check_flags(config.coordinator, config.processes, config.process)
    if config.max_minutes is not None and not config.max_minutes > 0:
        raise UserError(f"--max-minutes is {config.max_minutes}; it must be above 0")
    if config.memory_gib is not None and not 0 <= config.memory_gib < math.inf:
        raise UserError(f"--memory-gib is {config.memory_gib}; it must be 0 or more and finite")
    if not 0 <= config.seed < 2**32:
        raise UserError(f"--seed is {config.seed}; it must be from 0 to {2**32 - 1}")
    if config.weight_decay is not None and not 0 <= config.weight_decay < 1:
        raise UserError(f"--weight-decay is {config.weight_decay}; it must be in [0, 1)")
    if not 1 <= config.pairs <= 63:
        raise UserError(f"--pairs is {config.pairs}; it must be from 1 to 63")
    if config.proposal is not None:
        check_name("--proposal", config.proposal, PROPOSALS)
    if config.pairs > 1 and config.proposal in ("fixed", *OTHER_PROPOSALS):
        raise UserError(
            f"--pairs is {config.pairs} but --proposal {config.proposal} tries the same each time; "
            "use normal or uniform"
        )
    for size in config.block:
        if size not in ("column", "leaf") and not (size.isdecimal() and int(size)):
            raise UserError(f"--block is {size}; it must be 1 or more, column or leaf")
    if config.joint_step is not None:
        check_name("--joint-step", config.joint_step, JOINT_STEPS)
        if not config.block and config.preset != "spectral":
            raise UserError(
                f"--joint-step is {config.joint_step} but weights are decided one at a time; say "
                "how many at once with --block"
            )
    if not 0 <= config.temperature < math.inf:
        raise UserError(f"--temperature is {config.temperature}; it must be 0 or more and finite")
    if config.minibatches is not None:
        check_name("--minibatches", config.minibatches, MINIBATCHES)
    _check_numbers_of_baselines(config)


def check_parts(config: Train) -> None:
    """Refuse more values than there are cycles to share out, once these are known.

    Raises:
        UserError: how many there are of both.
    """
    assert config.cycles is not None
    for name in ("batch_size", "block"):
        if (values := len(getattr(config, name))) > config.cycles:
            raise UserError(
                f"{_option(name)} has {values} values for {config.cycles} cycles; give at most one "
                "for each"
            )


def _check_numbers_of_baselines(config: Train) -> None:
    for name in ("learning_rate", "sigma"):
        value = getattr(config, name)
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"{_option(name)} is {value}; it must be above 0 and finite")
    if config.momentum is not None and not 0 <= config.momentum < 1:
        raise UserError(f"--momentum is {config.momentum}; it must be in [0, 1)")
    population = config.population
    if population is not None and (population < 2 or population % 2):
        raise UserError(f"--population is {population}; it must be even, and at least 2")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
