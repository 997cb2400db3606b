"""Mini-batches stacked in one array each, so that a compiled loop can index them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rso_jax.data.dataset import Dataset
from rso_jax.errors import UserError


def draw_minibatches(
    rng: np.random.Generator, examples: int, batch_size: int, *, at_most: int | None = None
) -> NDArray[np.int64]:
    """Shuffle the numbers of some examples and cut them into mini-batches.

    Args:
        rng: decides the order; it advances.
        examples: N.
        batch_size: examples in a mini-batch, n.
        at_most: mini-batches, if fewer than the examples fill are wanted.

    Returns:
        Numbers [M, n] below N, all different, with M = N // n or ``at_most``; the examples that
        come last in this order are left out.

    Raises:
        UserError: a batch size below 1 or above N, or no mini-batch wanted.
    """
    if not 1 <= batch_size <= examples:
        raise UserError(
            f"the batch size is {batch_size} but there are {examples} examples; "
            f"choose one from 1 to {examples}"
        )
    if at_most is not None and at_most < 1:
        raise UserError(f"{at_most} mini-batches wanted; it must be at least 1")
    batches = min(examples // batch_size, at_most or examples)
    return rng.permutation(examples)[: batches * batch_size].reshape(batches, batch_size)


def stack_minibatches(
    rng: np.random.Generator,
    images: NDArray[Any],
    labels: NDArray[Any],
    batch_size: int,
    *,
    at_most: int | None = None,
) -> dict[str, NDArray[Any]]:
    """Shuffle examples and cut them into mini-batches, as ``draw_minibatches`` does.

    Args:
        rng: decides the order; it advances.
        images: [N, ...].
        labels: [N].
        batch_size: examples in a mini-batch, n.
        at_most: mini-batches, if fewer than the examples fill are wanted.

    Returns:
        "image" [M, n, ...] and "label" [M, n].

    Raises:
        UserError: a batch size below 1 or above N, or no mini-batch wanted.
    """
    order = draw_minibatches(rng, len(labels), batch_size, at_most=at_most)
    return {"image": images[order], "label": labels[order]}


def take_examples(dataset: Dataset, train_examples: int | None) -> Dataset:
    """Return ``dataset`` with only its first training examples.

    Args:
        dataset: any.
        train_examples: how many; None for all.

    Raises:
        UserError: fewer than 1, or more than there are.
    """
    if train_examples is None:
        return dataset
    available = len(dataset.y_train)
    if not 1 <= train_examples <= available:
        raise UserError(
            f"{train_examples} training examples asked for but {dataset.name} has {available}; "
            f"choose from 1 to {available}"
        )
    return dataset._replace(
        x_train=dataset.x_train[:train_examples], y_train=dataset.y_train[:train_examples]
    )
