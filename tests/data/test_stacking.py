from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_archives import message_of

from rso_jax.data import Dataset, stack_minibatches, take_examples


def examples(n):
    """Images that carry their number, and labels equal to it."""
    return np.arange(n, dtype=np.float32)[:, None, None] * np.ones((1, 2, 3)), np.arange(n)


@given(n=st.integers(1, 60), data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_a_permutation_without_loss(n, data, seed):
    size = data.draw(st.integers(1, n))
    images, labels = examples(n)
    stack = stack_minibatches(np.random.default_rng(seed), images, labels, size)
    batches = n // size
    assert stack["image"].shape == (batches, size, 2, 3)
    assert stack["label"].shape == (batches, size)
    np.testing.assert_array_equal(stack["image"][..., 0, 0], stack["label"])
    drawn = stack["label"].ravel()
    assert len(set(drawn)) == batches * size and set(drawn) <= set(range(n))


@given(size=st.integers(1, 20), at_most=st.integers(1, 30))
def test_no_more_mini_batches_than_wanted(size, at_most):
    images, labels = examples(20)
    every, some = (
        stack_minibatches(np.random.default_rng(1), images, labels, size, at_most=wanted)["label"]
        for wanted in (None, at_most)
    )
    np.testing.assert_array_equal(some, every[:at_most])


def test_order_follows_the_generator():
    images, labels = examples(50)
    rng = np.random.default_rng(1)
    first, second = (stack_minibatches(rng, images, labels, 50)["label"] for _ in range(2))
    again = stack_minibatches(np.random.default_rng(1), images, labels, 50)["label"]
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()


@pytest.mark.parametrize("size", [-1, 0, 11])
def test_a_batch_size_that_cannot_be(size):
    message = message_of(stack_minibatches, np.random.default_rng(0), *examples(10), size)
    assert f"batch size is {size}" in message and "10 examples" in message


def test_no_mini_batch_wanted():
    none = partial(stack_minibatches, at_most=0)
    message = message_of(none, np.random.default_rng(0), *examples(10), 5)
    assert "0 mini-batches" in message


def test_the_first_training_examples():
    images, labels = examples(10)
    data = Dataset("mine", images, labels, images[:4], labels[:4], classes=10)
    assert take_examples(data, None) is data
    few = take_examples(data, 3)
    assert few.y_train.tolist() == [0, 1, 2] and few.x_train.shape == (3, 2, 3)
    assert (len(few.x_test), few.classes) == (4, 10)
    for number in (0, -2, 11):
        message = message_of(take_examples, data, number)
        assert message.startswith(f"{number} training examples") and "has 10" in message
