import numpy as np
from sklearn import datasets

from rso_jax.data import load


def test_sizes_types_and_range():
    data = load("digits")
    assert (data.name, data.classes) == ("digits", 10)
    assert data.x_train.shape == (1437, 8, 8, 1) and data.x_test.shape == (360, 8, 8, 1)
    assert data.x_train.dtype == data.x_test.dtype == np.float32
    assert data.y_train.dtype == data.y_test.dtype == np.int32
    assert data.x_train.min() == 0 and data.x_train.max() == 1


def test_every_digit_of_the_source_is_in_one_part_with_its_label():
    data, source = load("digits"), datasets.load_digits()
    parts = [(data.x_train, data.y_train), (data.x_test, data.y_test)]
    found = [
        (*(x * 16).astype(int).ravel(), int(y))
        for xs, ys in parts
        for x, y in zip(xs, ys, strict=True)
    ]
    wanted = [
        (*x.astype(int).ravel(), int(y)) for x, y in zip(source.images, source.target, strict=True)
    ]
    assert sorted(found) == sorted(wanted)


def test_the_split_is_fixed_and_stratified():
    first, second = load("digits"), load("digits")
    np.testing.assert_array_equal(first.x_test, second.x_test)
    assert set(np.bincount(first.y_test)) <= {35, 36, 37}
