"""Images changed at random before training sees them, on the device.

An augmentation is a pure function of a key and images: the same key gives the same images. What
``rso_jax.tasks.classification(..., augment=compose(shift(4), flip()))`` is given, it applies to
each cycle's mini-batches; the images that are scored stay as they are.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.arguments import check_callable
from rso_jax.errors import UserError, whole_number

Augment = Callable[[Array, Array], Array]
"""``(key, images [n, ...])``: images of the same shape and type."""


def shift(pixels: int) -> Augment:
    """Each image moved by up to so many pixels, along both axes on its own: a random crop.

    As padding an image by so many pixels on every side and cropping it to its size anywhere does.
    All (2 pixels + 1)^2 moves are equally likely. What moves in repeats the border, which is the
    background where images have one (of MNIST, say), whatever normalisation made of it.

    Args:
        pixels: the furthest along an axis.

    Returns:
        ``(key, images [n, height, width, ...])``.

    Raises:
        UserError: a number below 1. The function raises one for images of fewer axes, or no wider
            than the moves.
    """
    pixels = whole_number("pixels", pixels, 1)

    def moved(move: Array, image: Array) -> Array:
        height, width = image.shape[:2]
        rows = jnp.clip(jnp.arange(height) - move[0], 0, height - 1)
        columns = jnp.clip(jnp.arange(width) - move[1], 0, width - 1)
        return image[rows[:, None], columns]

    def augment(key: Array, images: Array) -> Array:
        _check_images(images)
        narrowest = min(images.shape[1:3])
        if pixels >= narrowest:
            raise UserError(
                f"images of shape {images.shape[1:]} are moved by up to {pixels} pixels, out of "
                f"sight; choose fewer than {narrowest}"
            )
        moves = jax.random.randint(key, (len(images), 2), -pixels, pixels + 1)
        return jax.vmap(moved)(moves, images)

    return augment


def flip() -> Augment:
    """Half of the images, at random, with left and right exchanged.

    Returns:
        ``(key, images [n, height, width, ...])``.
    """

    def augment(key: Array, images: Array) -> Array:
        _check_images(images)
        chosen = jax.random.bernoulli(key, shape=(len(images),) + (1,) * (images.ndim - 1))
        return jnp.where(chosen, images[:, :, ::-1], images)

    return augment


def compose(*augments: Augment) -> Augment:
    """One augmentation after the other, each by a key of its own; of one, that one itself.

    Args:
        augments: in the order in which they change images.

    Returns:
        ``(key, images [n, ...])``.

    Raises:
        UserError: none at all, or something that is no function.
    """
    for augment in augments:
        check_callable("an augmentation", augment)
    if not augments:
        raise UserError("compose is given no augmentation; pass shift(4), flip(), for instance")
    if len(augments) == 1:
        return augments[0]

    def augment_in_order(key: Array, images: Array) -> Array:
        keys = jax.random.split(key, len(augments))
        for own, augment in zip(keys, augments, strict=True):
            images = augment(own, images)
        return images

    return augment_in_order


def _check_images(images: Array) -> None:
    if images.ndim < 3:
        raise UserError(
            f"examples have shape {images.shape[1:]}; only images, [height, width, ...], can be "
            "shifted or flipped"
        )
