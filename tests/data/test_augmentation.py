"""Images changed at random: which changes there are, and that a key decides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rso_jax import UserError
from rso_jax.data.augmentation import compose, flip, shift

IMAGE = np.arange(12, dtype=np.float32).reshape(3, 4, 1)


def seen(augment, image, count=400):
    """How often each image comes out."""
    found = np.asarray(jax.jit(augment)(jax.random.key(1), np.stack([image] * count)))
    assert found.shape == (count, *image.shape) and found.dtype == image.dtype
    images, counts = np.unique(found.reshape(count, -1), axis=0, return_counts=True)
    return {tuple(a): n for a, n in zip(images.tolist(), counts.tolist(), strict=True)}


@pytest.mark.parametrize("image", [IMAGE[..., 0], np.concatenate([IMAGE, -IMAGE], 2)])
def test_all_shifts_are_seen_about_equally_often_and_the_border_moves_in(image):
    margin = [(2, 2), (2, 2), (0, 0)][: image.ndim]
    wide = np.pad(image, margin, mode="edge")
    moves = [(i, j) for i in range(5) for j in range(5)]
    expected = {tuple(wide[i : i + 3, j : j + 4].reshape(-1).tolist()) for i, j in moves}
    found = seen(shift(2), image, 2500)
    assert set(found) == expected and len(expected) == 25
    assert all(50 < count < 170 for count in found.values())  # 100 on average


def test_half_of_the_images_are_flipped():
    found = seen(flip(), IMAGE)
    assert set(found) == {tuple(a.reshape(-1).tolist()) for a in (IMAGE, IMAGE[:, ::-1])}
    assert all(150 < count < 250 for count in found.values())


def test_a_shift_is_a_padded_image_cropped_anywhere_and_then_flipped():
    wide = np.pad(IMAGE, [(1, 1), (1, 1), (0, 0)], mode="edge")
    crops = [wide[i : i + 3, j : j + 4] for i in range(3) for j in range(3)]
    expected = {tuple(a.reshape(-1).tolist()) for crop in crops for a in (crop, crop[:, ::-1])}
    found = seen(compose(shift(1), flip()), IMAGE, 1800)
    assert set(found) == expected and len(expected) == 18
    assert all(50 < count < 170 for count in found.values())  # 100 on average: keys of their own


def test_augmentations_follow_one_another_in_the_order_given():
    first, last = (lambda key, images: images + 1), (lambda key, images: 2 * images)
    np.testing.assert_array_equal(compose(first, last)(jax.random.key(0), jnp.ones(3)), 4)
    one = shift(1)
    assert compose(one) is one


@pytest.mark.parametrize("augment", [shift(1), flip(), compose(shift(1), flip())])
def test_the_key_decides(augment):
    images = np.random.default_rng(2).normal(size=(16, 5, 5, 1))
    augment = jax.jit(augment)
    one, again, other = (augment(jax.random.key(k), images) for k in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert np.any(one != other)


def test_what_cannot_be_shifted_is_refused():
    with pytest.raises(UserError, match="pixels is 0; it must be at least 1"):
        shift(0)
    for augment in (shift(1), flip()):
        with pytest.raises(UserError, match=r"examples have shape \(64,\); only images"):
            augment(jax.random.key(0), jnp.zeros((2, 64)))
    with pytest.raises(UserError, match="compose is given no augmentation; pass shift"):
        compose()
    with pytest.raises(UserError, match="an augmentation is an int; pass a function"):
        compose(flip(), 2)
    with pytest.raises(UserError, match="by up to 5 pixels, out of sight; choose fewer than 5"):
        shift(5)(jax.random.key(0), jnp.zeros((2, 8, 5, 1)))
