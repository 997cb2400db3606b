"""What a run is about: its data and its network, however it is trained."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import tyro

from rso_jax.cli.flags import (
    PLAIN_NAME,
    OptionalFloat,
    OptionalInt,
    OptionalName,
    OptionalPath,
    Switch,
)
from rso_jax.cli.same_data import summarise
from rso_jax.data import Dataset, load, normalize, take_examples
from rso_jax.data.augmentation import Augment, compose, flip, shift
from rso_jax.errors import UserError, check_name
from rso_jax.networks import Network, create, readouts
from rso_jax.networks.grids import Grid, round_network
from rso_jax.networks.heads import count_in_heads
from rso_jax.networks.models import NORMS, grid_named
from rso_jax.networks.readouts import Readout
from rso_jax.search.presets import Conventions
from rso_jax.trees import named_leaves

PyTree = Any

READOUTS = ("output", "last-head", "heads")
"""What can be scored of a network with heads, the default first."""
DEFAULT_MODELS = {
    "mnist": "paper-mnist",
    "fashion_mnist": "paper-mnist",
    "cifar10": "paper-cifar10",
}


@dataclass(frozen=True)
class Details:
    """What one seldom needs of the data and the network."""

    hidden: tuple[int, ...] = (64,)
    """Widths of the hidden layers of mlp."""
    norm: OptionalName = None
    """batch, layer or none; by default the model's own."""
    activation: Annotated[str, PLAIN_NAME] = "relu"
    """relu, sign or int8. (default: relu)"""
    window: OptionalFloat = None
    """Of sign: gradients pass within it; by default 1."""
    weights: Annotated[str, PLAIN_NAME] = "float"
    """float, binary, ternary or int8. (default: float)"""
    heads: OptionalInt = None
    """Bins a side of heads: a loss for every layer."""
    head_width: OptionalInt = None
    """Hidden channels in each head; by default none."""
    readout: OptionalName = None
    """Scored: output, last-head or heads, added."""
    first_head: OptionalInt = None
    """The first that --readout heads adds."""
    shift: OptionalInt = None
    """Pixels that training images move at most."""
    flip: Switch = False
    """Mirror half of the training images."""
    start: Annotated[OptionalName, tyro.conf.arg(metavar="RUN")] = None
    """Run, or params.npz, whose weights to begin with."""
    train_examples: OptionalInt = None
    """Training examples in use; by default all."""
    data_dir: OptionalPath = None
    """Folder of the data sets; see `rso data list`."""

    def check_heads(self) -> None:
        """Refuse heads and readouts that no network has.

        Raises:
            UserError: the value and what it must be.
        """
        numbers = {
            "--heads": self.heads,
            "--head-width": self.head_width,
            "--first-head": self.first_head,
        }
        for name, number in numbers.items():
            if number is not None and number < 1:
                raise UserError(f"{name} is {number}; it must be at least 1, or left out")
        if self.head_width is not None and self.heads is None:
            raise UserError(
                f"--head-width is {self.head_width} but there are no heads; add --heads"
            )
        if self.readout is not None:
            check_name("--readout", self.readout, READOUTS)
            if self.heads is None:
                raise UserError(f"--readout is {self.readout} but there are no heads; add --heads")
        if self.first_head is not None and self.readout != "heads":
            raise UserError(f"--first-head is {self.first_head}; it is of --readout heads")

    def settle_readout(self) -> dict[str, Any]:
        """What is scored, as settings; nothing is of a network without heads."""
        if self.heads is None:
            return {"readout": None, "first_head": None}
        readout = self.readout or READOUTS[0]
        return {
            "readout": readout,
            "first_head": (self.first_head or 1) if readout == "heads" else None,
        }


@dataclass(frozen=True)
class Problem:
    """Which data and which network, as given."""

    dataset: Annotated[str, tyro.conf.arg(help_behavior_hint="")] = "digits"
    """digits by default; mnist, fashion_mnist, cifar10,
    or an .npz of x_train, y_train, x_test, y_test."""
    model: OptionalName = None
    """mlp, paper-mnist, paper-cifar10, evojax-mnist; or by the data."""
    details: Annotated[Details, tyro.conf.arg(name="data and network", help="")] = Details()

    def check(self) -> None:
        """Refuse settings that no data set makes valid.

        Raises:
            UserError: the value and what it must be.
        """
        examples = self.details.train_examples
        if examples is not None and examples < 1:
            raise UserError(f"--train-examples is {examples}; it must be at least 1")
        pixels = self.details.shift
        if pixels is not None and pixels < 1:
            raise UserError(f"--shift is {pixels}; it must be at least 1, or left out")
        self.details.check_heads()


class Posed(NamedTuple):
    """Data and network, settled."""

    data: Dataset
    """Normalised."""
    data_summary: dict[str, Any]
    """What identifies the data, to compare on resume and evaluation."""
    model: str
    """Name of the network."""
    norm: str
    """What normalises its layers."""
    readout: dict[str, Any]
    """What is scored, as settings; see ``say_readout``."""
    network: Network
    weights: str
    """What kernels take their weights from, by name."""
    augment: Augment | None
    """What is done to training images; None for nothing."""

    @property
    def examples(self) -> int:
        """Training examples in use."""
        return len(self.data.y_train)

    @property
    def grid(self) -> Grid | None:
        """What kernels take their weights from; None for real numbers."""
        return grid_named(self.weights)

    @property
    def rounded(self) -> Network:
        """The network, rounding the weights that it is given to its grid."""
        return self.network if self.grid is None else round_network(self.network, self.grid)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input."""
        return self.data.x_train.shape[1:]

    @property
    def weights_in_heads(self) -> int:
        """How many of the network's parameters are those of local heads."""
        return count_in_heads(self.describe_params())

    def describe_params(self) -> PyTree:
        """Shapes and types of the network's parameters."""
        image = jax.ShapeDtypeStruct((1, *self.shape), self.data.x_train.dtype)
        return jax.eval_shape(self.network.init, jax.random.key(0), image)

    def choose_layers(self, names: Sequence[str]) -> Callable[[str], bool] | None:
        """Which arrays are trained, by path, of the layers named; None if none is: all are.

        Raises:
            UserError: a layer that the network does not have.
        """
        layers = dict.fromkeys(path.split("/")[0] for path in named_leaves(self.describe_params()))
        for name in names:
            check_name("--only", name, layers)
        return (lambda path: path.split("/")[0] in names) if names else None

    def describe_statistics(self) -> PyTree:
        """Shapes and types of what is kept beside the parameters."""
        image = jnp.asarray(self.data.x_train[:1])
        return jax.eval_shape(self.network.calibrate, self.describe_params(), image)


def pose(problem: Problem, conventions: Conventions) -> Posed:
    """Load the data and build the network.

    Args:
        problem: as given.
        conventions: of the preset, how images are normalised.

    Raises:
        UserError: data that is not there, or a network that does not fit it.
    """
    details = problem.details
    data = take_examples(load(problem.dataset, details.data_dir), details.train_examples)
    model = problem.model or DEFAULT_MODELS.get(data.name, "mlp")
    norm: Any = details.norm  # ``create`` says which there are
    readout = details.settle_readout()
    network = create(
        model,
        data.x_train.shape[1:],
        data.classes,
        details.hidden,
        norm,
        heads=details.heads,
        head_width=details.head_width,
        readout=_find_readout(**readout),
        activation=details.activation,
        window=details.window,
        weights=details.weights,
    )
    posed = Posed(
        data=normalize(data, conventions.normalization),
        data_summary=summarise(data),
        model=model,
        norm=norm or NORMS[model][0],
        readout=readout,
        network=network,
        weights=details.weights,
        augment=_augmentation(details),
    )
    if details.heads is not None:  # a readout says here what it does not find
        image = jax.ShapeDtypeStruct((1, *posed.shape), posed.data.x_train.dtype)
        described = posed.describe_params(), posed.describe_statistics()
        jax.eval_shape(network.evaluate, *described, image)
    return posed


def _find_readout(readout: str | None, first_head: int | None) -> Readout | None:
    if readout == "heads":
        return readouts.add_log_probabilities(first_head or 1)
    return readouts.last_head if readout == "last-head" else None


def say_readout(readout: str | None, first_head: int | None) -> str:
    """What is scored, in words."""
    if readout == "heads":
        return f"log-probabilities of the heads from {first_head} on, added"
    return "the last head" if readout == "last-head" else "the network's own last layer"


def _augmentation(details: Details) -> Augment | None:
    """What is done to training images: first shifted, then flipped; None for nothing."""
    wanted = [] if details.shift is None else [shift(details.shift)]
    wanted += [flip()] * details.flip
    return compose(*wanted) if wanted else None


def describe_augmentation(details: Details) -> str:
    """What is done to training images, in words; none for nothing."""
    wanted = [] if details.shift is None else [f"shifted by up to {details.shift}"]
    wanted += ["flipped"] * details.flip
    return f"training images {' and '.join(wanted)} at random" if wanted else ""


def describe_values(details: Details) -> str:
    """Of what kind activations and weights are, in words after the network's name."""
    found = "" if details.activation == "relu" else f", {details.activation} activations"
    return found + ("" if details.weights == "float" else f", {details.weights} weights")


@contextlib.contextmanager
def use_precision(conventions: Conventions, whole_products: bool = False) -> Iterator[None]:
    """Use JAX's 64-bit mode while the loss needs it; weights and activations stay float32.

    Args:
        conventions: which loss.
        whole_products: take all digits of float32 in products on accelerators, too, which round
            them unless told; ``JAX_DEFAULT_MATMUL_PRECISION`` says otherwise.
    """
    told = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    if whole_products and told is None and jax.default_backend() != "cpu":
        told = "highest"
    wide = conventions.loss_precision == "float64"
    with jax.enable_x64(wide), jax.default_matmul_precision(told):
        yield
