import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from small_archives import message_of

from rso_jax.data import Dataset, normalize

SHAPES = st.one_of(
    st.tuples(st.integers(1, 8), st.integers(1, 4)),
    st.tuples(st.integers(1, 8), st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 8), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)),
)
BYTES = arrays(np.uint8, SHAPES)
FLOATS = arrays(np.float32, SHAPES, elements=st.floats(-4, 4, width=16))


def dataset(x):
    y = np.zeros(len(x), np.int32)
    return Dataset("mine", x, y, x[:1], y[:1], classes=1)


def axes_of(x):
    """One value for a channel of images, for a feature of flat inputs, else for everything."""
    return {2: (0,), 3: (0, 1, 2), 4: (0, 1, 2)}[x.ndim]


@given(x=st.one_of(BYTES, FLOATS), how=st.sampled_from(["center", "standardize"]))
def test_the_formula(x, how):
    original = x.copy()
    data = normalize(dataset(x), how)
    wide = x.astype(np.float64) / (255 if x.dtype == np.uint8 else 1)
    mean = wide.mean(axes_of(x), keepdims=True)
    deviation = wide.std(axes_of(x), keepdims=True)
    deviation[deviation < 1e-7] = 1  # a constant, up to rounding
    wanted = (wide - mean) / (deviation if how == "standardize" else 1)
    for found in (data.x_train, data.x_test):
        assert found.dtype == np.float32
    # Rounding to float32 before the division is amplified by it.
    tolerance = 2e-6 / min(1.0, deviation.min())
    np.testing.assert_allclose(data.x_train, wanted, atol=tolerance)
    np.testing.assert_array_equal(data.x_test, data.x_train[:1])
    np.testing.assert_array_equal(x, original)  # the loaded data is left alone


def test_training_images_come_out_with_mean_0_and_deviation_1():
    x = np.random.default_rng(0).integers(0, 256, (3000, 6, 6, 3), dtype=np.uint8)
    x[..., 1] //= 4
    train = normalize(dataset(x), "standardize").x_train.astype(np.float64)
    np.testing.assert_allclose(train.mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(train.std((0, 1, 2)), 1, atol=1e-6)


@pytest.mark.parametrize("value", range(0, 256, 5))
def test_a_constant_feature_becomes_zero(value):
    x = np.random.default_rng(0).integers(0, 256, (2500, 3), dtype=np.uint8)
    x[:, 1] = value
    train = normalize(dataset(x), "standardize").x_train
    assert not train[:, 1].any() and train[:, 0].any()


def test_test_images_take_the_numbers_of_the_training_images():
    data = dataset(np.array([[0.0], [2.0]], np.float32))._replace(
        x_test=np.array([[5.0]], np.float32)
    )
    assert normalize(data, "center").x_test.tolist() == [[4.0]]
    assert normalize(data, "standardize").x_test.tolist() == [[4.0]]


def test_an_unknown_way_is_refused():
    message = message_of(normalize, dataset(np.zeros((2, 2), np.float32)), "whiten")
    assert "'whiten'" in message and "center, standardize" in message
