"""Next-character prediction on a text: a network, a string, nats per character."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from numpy.typing import NDArray

from rso_jax.arguments import check_type
from rso_jax.arrays import kind_of
from rso_jax.errors import UserError, whole_number
from rso_jax.mesh import check_divides, place_rows
from rso_jax.networks.functional import Network, shapes_of_logits
from rso_jax.tasks.scoring import NUMBERS, calibrate, score
from rso_jax.tasks.task import Task

PyTree = Any


def characters(
    text: str,
    network: Network,
    *,
    length: int,
    batch_size: int,
    batches_per_cycle: int,
    held_out: float = 0.1,
    scored: int = 256,
    mesh: Mesh | None = None,
) -> Task:
    """The task of telling the next character of a text, at every position of a window.

    ::

        network = linen_network(Transformer(vocabulary=len(set(text)), length=64))
        task = characters(text, network, length=64, batch_size=32, batches_per_cycle=100)
        loss = loss_of(network, inputs="text", labels="next")

    A mini-batch is ``{"text": [n, T], "next": [n, T]}``, windows that the cycle's generator draws
    anywhere in the training text and the characters after theirs; numbers stand for characters, in
    the order of ``sorted(set(text))``. The score is ``train_loss``, ``train_accuracy``,
    ``test_loss`` and ``test_accuracy``, cross-entropy in nats per character and shares, over the
    same windows of each part every time.

    Args:
        text: to train on and, its end, to test on.
        network: what is trained; its logits are [n, T, characters].
        length: of a window, T.
        batch_size: windows in a mini-batch, n.
        batches_per_cycle: mini-batches of a cycle.
        held_out: share of the text, at its end, that only tests.
        scored: windows of each part that are scored, as far apart as the part allows; fewer where
            they would overlap.
        mesh: devices that share the work, the same that the method was made for.

    Raises:
        UserError: an argument of another kind or size, or a text of which a part does not fill a
            window. ``init`` of the task refuses a network with other logits.
    """
    _check_parts(network, mesh)
    length = whole_number("length", length, 1)
    batch_size = whole_number("batch_size", batch_size, 1)
    batches_per_cycle = whole_number("batches_per_cycle", batches_per_cycle, 1)
    scored = whole_number("scored", scored, 1)
    check_divides(mesh, batch_size)
    vocabulary, train, test = _split(text, held_out, length)
    windows = _windows(train, length)
    train_part, test_part = (_spread(_windows(part, length), scored) for part in (train, test))

    def init(key: Array) -> PyTree:
        params = network.init(key, jnp.asarray(windows["text"][:1]))
        _check_logits(network, params, (batch_size, length, vocabulary))
        return params

    def batches(rng: np.random.Generator, cycle: int) -> PyTree:
        del cycle
        starts = rng.integers(len(windows["text"]), size=(batches_per_cycle, batch_size))
        return place_rows(mesh, windows, starts)

    return Task(
        init=init,
        batches=batches,
        batch_size=lambda cycle: batch_size,
        score=partial(_score_parts, network, train_part, test_part, mesh),
        keep=lambda params: calibrate(network, params, train_part["text"], mesh),
        numbers=NUMBERS,
        shown=("test_loss", "train_loss"),
        unit="windows",
    )


def _check_parts(network: Any, mesh: Any) -> None:
    check_type("network", network, Network, "linen_network(Transformer(...)) returns")
    if mesh is not None:
        check_type("mesh", mesh, Mesh, "rso_jax.mesh.make_mesh() returns")


def _split(text: Any, held_out: Any, length: int) -> tuple[int, NDArray[Any], NDArray[Any]]:
    """The number of characters, and the two parts of the text as their numbers."""
    if not isinstance(text, str):
        raise UserError(f"text is {kind_of(text)}; pass a string")
    if isinstance(held_out, bool) or not isinstance(held_out, int | float) or not 0 < held_out < 1:
        raise UserError(
            f"held_out is {held_out!r}; it must be a share of the text, above 0, below 1"
        )
    cut = len(text) - round(held_out * len(text))
    for name, found in (("training", cut), ("test", len(text) - cut)):
        if found <= length:
            raise UserError(
                f"the text has {len(text)} characters, {found} of them for {name}; a window of "
                f"length {length} needs {length + 1}: pass more text, a smaller length or another "
                f"held_out than {held_out}"
            )
    points = np.array([ord(character) for character in text], np.int32)
    letters, numbers = np.unique(points, return_inverse=True)
    numbers = numbers.astype(np.int32)
    return len(letters), numbers[:cut], numbers[cut:]


def _windows(part: NDArray[Any], length: int) -> dict[str, NDArray[Any]]:
    """All windows of a part and what follows each of their characters, [windows, T]; views."""
    seen = np.lib.stride_tricks.sliding_window_view(part, length + 1)
    return {"text": seen[:, :-1], "next": seen[:, 1:]}


def _spread(windows: dict[str, NDArray[Any]], scored: int) -> dict[str, NDArray[Any]]:
    """So many of the windows, evenly from first to last, that none overlap."""
    available, length = windows["text"].shape
    count = min(scored, (available - 1) // length + 1)
    starts = np.linspace(0, available - 1, count).astype(int)
    return {name: array[starts] for name, array in windows.items()}


def _score_parts(
    network: Network,
    train: dict[str, NDArray[Any]],
    test: dict[str, NDArray[Any]],
    mesh: Mesh | None,
    params: PyTree,
    statistics: PyTree,
) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, part in (("train", train), ("test", test)):
        of_part = score(network, params, statistics, part["text"], part["next"], mesh)
        found |= {f"{name}_loss": of_part.loss, f"{name}_accuracy": of_part.accuracy}
    return found


def _check_logits(network: Network, params: PyTree, wanted: tuple[int, int, int]) -> None:
    """Refuse a network whose logits are not those of the text's characters."""
    tokens = jax.ShapeDtypeStruct(wanted[:2], np.int32)
    for name, found in shapes_of_logits(network, params, tokens).items():
        if len(found) != 3 or found[:2] != wanted[:2] or found[2] < wanted[2]:
            which = f"logits {name!r}" if name else "logits"
            raise UserError(
                f"the network gives {which} of shape {found} for text of shape {wanted[:2]}, which "
                f"has {wanted[2]} characters; they must be {list(wanted)}"
            )
