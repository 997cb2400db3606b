import numpy as np
import pytest
from small_archives import message_of

from rso_jax.data.dataset import Dataset, check


def valid():
    labels = np.array([0, 1, 2, 1], np.int32)
    images = np.zeros((4, 3, 3, 1), np.float32)
    return Dataset("mine", images, labels, images[:2], labels[:2], classes=3)


def test_a_valid_data_set_is_returned():
    dataset = valid()
    assert check(dataset) is dataset


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y_train": np.array([0, 1, 3, 1])}, ["y_train is 3 at 2", "0..2"]),
        ({"y_test": np.array([-1, 1])}, ["y_test is -1 at 0", "0..2"]),
        ({"y_test": np.array([0.0, 1.0])}, ["y_test is float64", "whole numbers"]),
        ({"y_test": np.array([True, False])}, ["y_test is bool"]),
        ({"y_train": np.array([0, 1])}, ["4 examples", "2 labels"]),
        ({"y_train": np.zeros((4, 1), int)}, ["y_train (4, 1)", "labels [N]"]),
        ({"x_train": np.zeros(4, np.float32)}, ["x_train has shape (4,)"]),
        ({"x_test": np.zeros((2, 5, 3, 1), np.float32)}, ["(3, 3, 1)", "(5, 3, 1)"]),
        ({"x_test": np.zeros((2, 3, 3, 1), np.uint8)}, ["float32", "uint8", "same type"]),
        ({"x_test": np.zeros((2, 3, 3, 1), np.int64)}, ["x_test is int64", "uint8"]),
        ({"x_test": np.full((2, 3, 3, 1), np.nan, np.float32)}, ["x_test is nan at [0, 0, 0, 0]"]),
        (
            {"x_test": np.zeros((0, 3, 3, 1), np.float32), "y_test": np.zeros(0, int)},
            ["x_test", "empty"],
        ),
        ({"y_train": [0, 1, 2, 1]}, ["y_train is a list", "numpy array"]),
        ({"classes": 0}, ["0 classes"]),
        ({"classes": 2.5}, ["2.5 classes"]),
        ({"classes": 2**40}, ["1099511627776 classes"]),
    ],
)
def test_what_cannot_be_trained_on_is_named(changes, words):
    message = message_of(check, valid()._replace(**changes))
    assert message.startswith("mine: ")
    assert all(word in message for word in words), message
