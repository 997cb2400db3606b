"""Classification of images, or of other inputs, with labels: a network, a data set, accuracy."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from rso_jax.arrays import check_arrays, kind_of
from rso_jax.data import Dataset, draw_minibatches
from rso_jax.data.augmentation import Augment
from rso_jax.data.dataset import check
from rso_jax.errors import UserError, whole_number
from rso_jax.mesh import DATA, check_divides, constrain, place, place_rows
from rso_jax.networks.functional import Network, shapes_of_logits
from rso_jax.tasks.scoring import NUMBERS, calibrate, score
from rso_jax.tasks.task import Task

PyTree = Any

LARGEST_SHARE = 0.25
"""Of an accelerator's memory, for the training examples."""
TRAIN_SCORE_EXAMPLES = 10_000
"""Training loss and accuracy of a cycle are taken over at most the first 10,000 examples."""


def classification(
    network: Network,
    data: Dataset,
    *,
    batch_size: int | Callable[[int], int],
    batches_per_cycle: int | None = None,
    mesh: Mesh | None = None,
    shared: Mapping[str, Any] | None = None,
    augment: Augment | None = None,
) -> Task:
    """The task of telling the classes of a data set apart.

    A mini-batch is ``{"image": [n, ...], "label": [n]}``, as ``rso_jax.networks.loss_of`` takes
    it. What is kept beside the parameters are statistics of batch norm (``calibrate``). The score
    is ``train_loss``, ``train_accuracy``, ``test_loss`` and ``test_accuracy``, cross-entropy in
    nats and shares; of the training data over the first 10,000 examples at most.

    Args:
        network: what is trained; its logits, of every layer that has some, are [examples, classes].
        data: images already normalised, as ``rso_jax.data.dataset.check`` wants them.
        batch_size: examples in a mini-batch, or that as a function of the cycle, counted from 0.
            Of each shuffle, what does not fill one is left out of that cycle. Every size is
            compiled anew.
        batches_per_cycle: mini-batches drawn for a cycle; as many as the data fill, if not given.
        mesh: devices that share the work, the same that the method was made for.
        shared: arrays by name that go into every mini-batch beside ``image`` and ``label``, the
            same for all examples (class weights, a temperature); the search is made with
            ``rso(..., shared=lambda path: path in names)``.
        augment: ``(key, images [n, ...])``, what training sees in their place, of the same shape
            and type; ``rso_jax.data.augmentation.shift(2)``, say. The key is drawn by the cycle's
            generator. Images that are scored, or give statistics, stay as they are.

    Raises:
        UserError: an argument of another kind, data that cannot be trained on, or a batch size that
            they cannot fill. ``init`` of the task refuses a network with other logits than the
            classes of the data, ``batch_size`` a cycle's size that does not work.
    """
    _check_parts(network, data, mesh)
    batches_per_cycle = (
        None
        if batches_per_cycle is None
        else whole_number("batches_per_cycle", batches_per_cycle, 1)
    )
    shared = _checked_shared(shared)
    examples = _within_reach({"image": data.x_train, "label": data.y_train}, mesh)
    size_of = _batch_sizes(batch_size, len(data.y_train), mesh)
    change = None if augment is None else _augment_stack(augment, data, mesh)

    def init(key: Array) -> PyTree:
        params = network.init(key, jnp.asarray(data.x_train[:1]))
        _check_logits(network, params, data, size_of(0))
        return params

    def batches(rng: np.random.Generator, cycle: int) -> PyTree:
        rows = draw_minibatches(rng, len(data.y_train), size_of(cycle), at_most=batches_per_cycle)
        stack: dict[str, Any] = place_rows(mesh, examples, rows)
        if change is not None:
            key = place(mesh, jax.random.key(rng.integers(2**31)))
            stack["image"] = change(key, stack["image"])
        return stack | place(mesh, shared)

    return Task(
        init=init,
        batches=batches,
        batch_size=size_of,
        score=partial(_score_splits, network, data, mesh),
        keep=lambda params: calibrate(network, params, data.x_train, mesh),
        numbers=NUMBERS,
        shown=("test_accuracy", "train_loss"),
        unit="img" if data.x_train.ndim > 2 else "examples",
    )


def _within_reach(examples: PyTree, mesh: Mesh | None) -> PyTree:
    """The examples where mini-batches are made of them: on an accelerator, if it is the only one.

    So no cycle waits for the host to gather images and to send them. Of several devices each is
    sent its own rows, and one that they would fill a large part of gets those of a cycle.
    """
    if mesh is not None or jax.default_backend() == "cpu":
        return examples
    room = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", 0)
    size = sum(array.nbytes for array in jax.tree.leaves(examples))
    return jax.device_put(examples) if size <= LARGEST_SHARE * room else examples


def _augment_stack(
    augment: Any, data: Dataset, mesh: Mesh | None
) -> Callable[[Array, Array], Array]:
    """The augmentation of a stack [M, n, ...], compiled; every mini-batch has a key of its own."""
    if not callable(augment):
        raise UserError(f"augment is {kind_of(augment)}; pass rso_jax.data.augmentation.shift(2)")
    images = jax.ShapeDtypeStruct((2, *data.x_train.shape[1:]), data.x_train.dtype)
    found = jax.eval_shape(augment, jax.random.key(0), images)
    if (getattr(found, "shape", ()), getattr(found, "dtype", None)) != (images.shape, images.dtype):
        raise UserError(
            f"augment makes {found} of images {images}; it must keep their shape and their type"
        )

    @jax.jit
    def change(key: Array, stack: Array) -> Array:
        keys = jax.random.split(key, len(stack))
        return constrain(mesh, jax.vmap(augment)(keys, stack), None, DATA)

    return change


def _score_splits(
    network: Network, data: Dataset, mesh: Mesh | None, params: PyTree, statistics: PyTree
) -> dict[str, float]:
    part = slice(0, TRAIN_SCORE_EXAMPLES)
    on_train = score(network, params, statistics, data.x_train[part], data.y_train[part], mesh)
    on_test = score(network, params, statistics, data.x_test, data.y_test, mesh)
    found = (on_train.loss, on_train.accuracy, on_test.loss, on_test.accuracy)
    return dict(zip(NUMBERS, found, strict=True))


def _check_parts(network: Any, data: Any, mesh: Any) -> None:
    _check_kind("network", network, Network, "linen_network(module)")
    _check_kind("data", data, Dataset, "rso_jax.data.load(name)")
    if mesh is not None:
        _check_kind("mesh", mesh, Mesh, "rso_jax.mesh.make_mesh()")
    check(data)


def _check_kind(name: str, value: Any, kind: type, example: str) -> None:
    if not isinstance(value, kind):
        raise UserError(
            f"{name} is {kind_of(value)}, not a {kind.__name__}; pass {example}, for instance"
        )


def _checked_shared(shared: Any) -> dict[str, Any]:
    shared = {} if shared is None else shared
    if not isinstance(shared, Mapping):
        raise UserError(f"shared is {kind_of(shared)}; pass a mapping of names to arrays")
    if taken := {"image", "label"} & set(shared):
        raise UserError(f"shared holds {taken.pop()!r}, which is of examples; use another name")
    check_arrays("shared", dict(shared))
    return dict(shared)


def _batch_sizes(batch_size: Any, examples: int, mesh: Mesh | None) -> Callable[[int], int]:
    """The batch size as a function of the cycle; it refuses those that do not work.

    Args:
        batch_size: a number, or a function of the cycle.
        examples: in the training data.
        mesh: which has to divide it.
    """

    def size_of(cycle: int) -> int:
        where = f"batch_size of cycle {cycle}" if callable(batch_size) else "batch_size"
        size = whole_number(where, batch_size(cycle) if callable(batch_size) else batch_size, 1)
        if size > examples:
            raise UserError(
                f"{where} is {size} but there are {examples} training examples; choose one from "
                f"1 to {examples}"
            )
        check_divides(mesh, size)
        return size

    if not callable(batch_size):
        size_of(0)
    return size_of


def _check_logits(network: Network, params: PyTree, data: Dataset, batch_size: int) -> None:
    """Refuse a network whose logits are not those of the data's classes."""
    images = jax.ShapeDtypeStruct((batch_size, *data.x_train.shape[1:]), data.x_train.dtype)
    for name, found in shapes_of_logits(network, params, images).items():
        if len(found) != 2 or found[0] != batch_size or found[1] < data.classes:
            which = f"logits {name!r}" if name else "logits"
            raise UserError(
                f"the network gives {which} of shape {found} for {batch_size} images; {data.name} "
                f"has {data.classes} classes, so they must be [{batch_size}, {data.classes}]"
            )
