import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_archives import message_of

from rso_jax.data import load


def arrays(**changes):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 5, 4, 3), dtype=np.uint8)
    labels = np.arange(12) % 3
    valid = {"x_train": images[:8], "y_train": labels[:8], "x_test": images[8:]}
    return {**valid, "y_test": labels[8:], **changes}


def saved(tmp_path, **changes):
    np.savez(tmp_path / "mine.npz", **arrays(**changes))
    return tmp_path / "mine.npz"


def test_bytes_stay_and_labels_become_int32(tmp_path):
    data, wanted = load(saved(tmp_path)), arrays()
    assert (data.name, data.classes) == ("mine.npz", 3)
    np.testing.assert_array_equal(data.x_test, wanted["x_test"], strict=True)
    np.testing.assert_array_equal(data.y_test, wanted["y_test"].astype(np.int32), strict=True)
    assert data.x_train.dtype == np.uint8 and data.y_train.dtype == np.int32


def test_training_examples_are_shuffled_always_alike(tmp_path):
    """So that the first ones of a file that is sorted by class are of all classes."""
    y = np.repeat(np.arange(4), 50)
    x = np.stack([y, np.arange(200)], -1).astype(np.float32)
    path = saved(tmp_path, x_train=x, y_train=y, x_test=x, y_test=y)
    data, again = load(path), load(path)
    assert sorted(data.x_train[:, 1].tolist()) == list(range(200))
    assert data.x_train[:, 0].tolist() == data.y_train.tolist() == again.y_train.tolist()
    assert set(data.y_train[:30].tolist()) == {0, 1, 2, 3}
    assert data.y_test.tolist() == y.tolist()


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_floats_become_float32(tmp_path, kind):
    x = np.linspace(0, 1, 24).reshape(6, 4).astype(kind)
    data = load(saved(tmp_path, x_train=x, y_train=np.arange(6), x_test=x, y_test=np.arange(6)))
    np.testing.assert_array_equal(data.x_test, x.astype(np.float32), strict=True)
    assert data.classes == 6 and data.x_train.dtype == np.float32


def test_images_of_two_axes_get_a_channel(tmp_path):
    x = np.zeros((4, 7, 5), np.uint8)
    y = np.array([0, 1, 0, 1])
    data = load(saved(tmp_path, x_train=x, y_train=y, x_test=x, y_test=y))
    assert data.x_train.shape == data.x_test.shape == (4, 7, 5, 1)


@given(
    labels=st.lists(st.integers(0, 20), min_size=1, max_size=20),
    kind=st.sampled_from([np.uint8, np.int16, np.int64, np.uint64]),
)
def test_labels_of_any_whole_type(tmp_path_factory, labels, kind):
    y = np.array(labels, kind)
    x = np.zeros((len(y), 2), np.float32)
    data = load(saved(tmp_path_factory.mktemp("npz"), x_train=x, y_train=y, x_test=x, y_test=y))
    assert data.classes == max(labels) + 1 and data.y_test.tolist() == labels


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y_test": np.array([0, 1, 2, 3])}, ["y_test is 3 at 3", "0..2"]),
        ({"y_train": np.full(8, -1)}, ["y_train is -1"]),
        ({"y_train": np.full(8, 2**40)}, ["1099511627777 classes"]),
        ({"y_train": np.array(["a"] * 8)}, ["y_train is <U1"]),
        ({"y_train": np.array([0.5] * 8)}, ["y_train is float64"]),
        ({"y_train": np.array([None] * 8)}, ["y_train holds Python objects"]),
        ({"x_train": np.full((8, 5, 4, 3), 1e300)}, ["x_train is inf", "float32"]),
        ({"x_train": np.zeros((8, 5, 4, 3), int)}, ["x_train is int64", "uint8"]),
        ({"x_train": np.float64(1)}, ["x_train has shape ()"]),
        ({"y_train": np.zeros(0, int)}, ["8 examples", "0 labels"]),
    ],
)
def test_arrays_that_cannot_be_used_are_named(tmp_path, changes, words):
    message = message_of(load, saved(tmp_path, **changes))
    assert all(word in message for word in ["mine.npz", *words]), message


def test_missing_arrays_are_named_with_what_was_found(tmp_path):
    np.savez(tmp_path / "mine.npz", x_train=np.zeros(3), labels=np.zeros(3))
    message = message_of(load, tmp_path / "mine.npz")
    assert "lacks y_train, x_test, y_test" in message and "it has x_train, labels" in message


def test_files_that_are_no_npz(tmp_path):
    path = tmp_path / "mine.npz"
    assert f"{path} is not a file" in message_of(load, path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    assert "holds a single array" in message_of(load, path)
    for content in (b"", b"text", np.arange(100).tobytes()):
        path.write_bytes(content)
        assert "not a readable .npz file" in message_of(load, path)


def test_a_pickle_is_not_run(tmp_path):
    path = tmp_path / "mine.npz"
    path.write_bytes(b"cposix\nsystem\n(S'touch " + bytes(tmp_path / "ran") + b"'\ntR.")
    assert "not a readable .npz file" in message_of(load, path)
    assert not (tmp_path / "ran").exists()


@given(share=st.floats(0, 0.999))
def test_a_truncated_file_is_refused(tmp_path_factory, share):
    path = saved(tmp_path_factory.mktemp("npz"))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "not a readable .npz file" in message_of(load, path)
