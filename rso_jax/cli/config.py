"""What ``rso train`` can be told, and what follows from it."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from rso_jax.errors import UserError
from rso_jax.search.presets import CONVENTIONS

# Left out on the command line means: follow from the rest, as each help text says.
OptionalInt = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]
OptionalFloat = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")]
SeveralInts = Annotated[tuple[int, ...], tyro.conf.arg(metavar="INT ...", help_behavior_hint="")]
Several = Annotated[tuple[str, ...], tyro.conf.arg(metavar="SIZE ...", help_behavior_hint="")]
OptionalName = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]
OptionalPath = Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]
OptionalFile = Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")]

DEFAULT_MODELS = {
    "mnist": "paper-mnist",
    "fashion_mnist": "paper-mnist",
    "cifar10": "paper-cifar10",
}
DEFAULT_CYCLES = {"digits": 3}
EVOLUTION = ("open-es", "pgpe")
LEARNING_RATES = {"sgd": 0.1, "adam": 0.003, "open-es": 0.01, "pgpe": 0.01}
# Settings that say where and how long to run, not what is computed: free to differ on resume, where
# memory_gib and mesh are by default those of the run, since rounding follows from them.
OPERATIONAL = (
    *("out", "resume", "overwrite", "max_minutes", "memory_gib", "data_dir"),
    *("mesh", "coordinator", "processes", "process"),
)


@dataclass(frozen=True)
class Train:
    """Train a network and write a run folder.

    Interrupted by Ctrl-C, SIGTERM or --max-minutes, the run saves itself;
    `rso train --resume DIR` goes on where it stopped.
    """

    dataset: str = "digits"
    """digits (embedded), mnist, fashion_mnist, cifar10 (prepared by tensorflow-datasets), or a path
    to an .npz file with x_train, y_train, x_test and y_test."""
    data_dir: OptionalPath = None
    """Folder of prepared tensorflow-datasets; see `rso data list`."""
    train_examples: OptionalInt = None
    """Use only the first so many training examples; all by default."""
    model: OptionalName = None
    """mlp, paper-mnist or paper-cifar10; by default what suits the data set."""
    hidden: tuple[int, ...] = (64,)
    """Widths of the hidden layers of mlp."""
    optimizer: Literal["rso", "sgd", "adam", "open-es", "pgpe"] = "rso"
    """rso searches without gradients, one weight at a time. Baselines: sgd (with momentum) and adam
    by optax, the evolution strategies open-es and pgpe by evosax; all on a cosine schedule."""
    preset: Literal["authors_code", "paper", "spectral"] = "authors_code"
    """What the search is made of: as in the paper or in its authors' script, which differ, or
    spectral, which decides whole layers at once on small mini-batches. Baselines take input and
    loss from it."""
    cycles: OptionalInt = None
    """Passes over all weights (epochs of a baseline); 500 for spectral, 3 for digits, 50
    otherwise."""
    batch_size: SeveralInts = ()
    """Examples in a mini-batch; several, such as 500 1000 5000, for equal parts of the cycles of
    rso. By default 5000 or all there are, 64 for spectral, 128 for baselines."""
    stacked: OptionalInt = None
    """Mini-batches drawn for a cycle of rso; by default all that the data fill, 20 for spectral."""
    score_every: OptionalInt = None
    """Cycles from one evaluation to the next; by default 1, for spectral a fiftieth of all."""
    seed: int = 0
    """Of initial weights, mini-batches and perturbations."""
    weight_decay: OptionalFloat = None
    """For rso the share by which a weight shrinks at each visit, by default the preset's; for
    sgd the L2 coefficient, for adam the decoupled one, 0 by default."""
    order: Literal["last-to-first", "first-to-last", "random"] = "last-to-first"
    """Order of the layers in a cycle of rso."""
    proposal: OptionalName = None
    """Perturbations of rso: a distance drawn from a distribution (normal, uniform) or always sigma
    (fixed), tried both ways; sign-flip; ternary, to the other two of -sigma, 0 and sigma. By
    default normal, for spectral a tenth of sigma, one way."""
    pairs: int = 1
    """Distances tried at each visit, both ways; for normal and uniform."""
    block: Several = ()
    """Weights decided at once: a number, column or leaf; several, such as leaf 64 1, for equal
    parts of the cycles. By default 1, for spectral leaf."""
    joint_step: OptionalName = None
    """How a block moves: accepted, differences, orthogonal, parabola or together; by default
    parabola, for spectral orthogonal."""
    temperature: float = 0.0
    """Of Metropolis acceptance in units of the loss, falling to 0 over the cycles; 0 keeps the best
    candidate."""
    minibatches: OptionalName = None
    """cycled, fresh (a mini-batch for every visit), per-column, per-leaf or per-cycle; by default
    the preset's."""
    activations: Literal["float32", "bfloat16"] = "float32"
    """Type in which rso multiplies activations and weights; sums are float32. bfloat16 turns some
    decisions: few for shallow networks, half of the late ones for deep networks."""
    learning_rate: OptionalFloat = None
    """Of the first step of a baseline; by default 0.1 for sgd, 0.003 for adam, 0.01 for evolution
    strategies."""
    momentum: OptionalFloat = None
    """Of sgd; 0.9 by default."""
    population: OptionalInt = None
    """Members of a generation of an evolution strategy, an even number; 64 by default."""
    sigma: OptionalFloat = None
    """Standard deviation of an evolution strategy's (first) perturbations; 0.05 by default."""
    out: OptionalPath = None
    """Run folder to create; by default a new one under runs/."""
    overwrite: bool = False
    """Replace the run that --out holds."""
    resume: OptionalPath = None
    """Go on with the run in this folder, with the settings it was started with."""
    max_minutes: OptionalFloat = None
    """Stop by itself after so many minutes, and save."""
    memory_gib: OptionalFloat = None
    """Intermediate results that a sweep of rso may hold on a device, 8 by default; with less it
    computes more again."""
    mesh: OptionalName = None
    """Devices along the axes data (examples of a mini-batch) and candidate (candidates scored at
    once), such as data=2,candidate=3; by default all on data, as far as they divide the batch."""
    coordinator: OptionalName = None
    """HOST:PORT of the first of several processes, the same for all; with --processes and
    --process. Or auto, where Slurm, Open MPI or Cloud TPU say all three."""
    processes: OptionalInt = None
    """How many processes share the run."""
    process: OptionalInt = None
    """Which of them this is, from 0; 0 writes the run folder."""


def to_json(config: Train) -> dict[str, Any]:
    """The settings that say what is computed, as JSON values."""
    settings = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(config).items()
        if name not in OPERATIONAL
    }
    if len(config.batch_size) == 1:
        (settings["batch_size"],) = config.batch_size
    return settings


def from_json(settings: dict[str, Any], source: Path) -> Train:
    """The settings that a config.json holds.

    Raises:
        UserError: settings that this version does not have.
    """
    known = {field.name for field in dataclasses.fields(Train)} - set(OPERATIONAL)
    if unknown := sorted(settings.keys() - known):
        raise UserError(f"{source} has settings this version does not know: {', '.join(unknown)}")
    values = dict(settings)
    if isinstance(values.get("batch_size"), int):
        values["batch_size"] = [values["batch_size"]]
    for name, value in values.items():
        values[name] = tuple(value) if isinstance(value, list) else value
    return Train(**values)


def check_same(given: Train, stored: Train, folder: Path) -> None:
    """Refuse to go on with a run under other settings than its own.

    Raises:
        UserError: a setting that differs, with both values.
    """
    mine, theirs = to_json(given), to_json(stored)
    for name, value in mine.items():
        if name == "dataset" and is_file(value) and is_file(theirs[name]):
            continue  # it may have moved: what it holds is compared once it is read
        if value != theirs[name]:
            option = "--" + name.replace("_", "-")
            raise UserError(
                f"{option} is {_as_given(value)} but the run in {folder} was started with "
                f"{_as_given(theirs[name])}; "
                f"leave {option} out to go on with it, or start a new run with --out"
            )


def is_file(dataset: str) -> bool:
    """Whether a data set is the user's own file."""
    return dataset.endswith(".npz")


def _as_given(value: Any) -> str:
    """As on the command line."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def settle(config: Train, data_name: str, train_examples: int) -> Train:
    """Fill in what was left to the data and the preset.

    Args:
        config: as given.
        data_name: name of the data set.
        train_examples: training examples in use.
    """
    searching, conventions = config.optimizer == "rso", CONVENTIONS[config.preset]
    evolving = config.optimizer in EVOLUTION
    spectral = searching and config.preset == "spectral"
    cycles = config.cycles or (500 if spectral else DEFAULT_CYCLES.get(data_name, 50))
    batch = min(conventions.batch_size if searching else 128, train_examples)
    return dataclasses.replace(
        config,
        model=config.model or DEFAULT_MODELS.get(data_name, "mlp"),
        cycles=cycles,
        batch_size=config.batch_size or (batch,),
        stacked=config.stacked or (conventions.stacked if searching else None),
        score_every=config.score_every or (max(1, cycles // 50) if spectral else 1),
        learning_rate=config.learning_rate or LEARNING_RATES.get(config.optimizer),
        momentum=0.9 if config.momentum is None and config.optimizer == "sgd" else config.momentum,
        population=config.population or (64 if evolving else None),
        sigma=config.sigma or (0.05 if evolving else None),
        memory_gib=8.0 if config.memory_gib is None else config.memory_gib,
    )
