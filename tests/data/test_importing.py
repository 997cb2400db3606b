"""From archives to prepared data sets and back, pixel for pixel."""

import gzip
import json
import os
import pty
import sys
import termios

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_archives import (
    assert_same,
    cifar_batches,
    idx_bytes,
    message_of,
    new_pickle,
    old_pickle,
    random_cifar,
    random_mnist,
    write_cifar_archive,
    write_cifar_folder,
    write_mnist,
)

from rso_jax.data import load
from rso_jax.data.idx import read_idx_folder
from rso_jax.data.importing import import_archive
from rso_jax.errors import UserError


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize("zipped", [True, False])
def test_idx_files_come_back(tmp_path, name, mark, zipped):
    splits = random_mnist()
    source = write_mnist(tmp_path / "source", splits, mark, zipped)
    folder = import_archive(name, source, tmp_path / "new/data")
    assert folder == tmp_path / "new/data" / name / "3.0.1"
    assert_same(load(name, tmp_path / "new/data"), splits)
    assert os.listdir(tmp_path / "new/data") == [name]  # no temporary folder is left


@pytest.mark.parametrize("dump", [old_pickle, new_pickle])
@pytest.mark.parametrize("form", ["archive", "folder", "folder around"])
def test_cifar_comes_back(tmp_path, dump, form):
    splits = random_cifar()
    batches = cifar_batches(splits, dump)
    if form == "archive":
        source = write_cifar_archive(tmp_path / "cifar-10-python.tar.gz", batches)
    else:
        source = write_cifar_folder(tmp_path / "cifar-10-batches-py", batches)
        source = source if form == "folder" else tmp_path
    folder = import_archive("cifar10", source, tmp_path / "data")
    assert folder == tmp_path / "data/cifar10/3.0.2"
    assert_same(load("cifar10", tmp_path / "data"), splits)


def test_what_is_written_is_what_the_catalogue_has(tmp_path):
    import tensorflow_datasets as tfds

    write_cifar_archive(tmp_path / "c.tar.gz", cifar_batches(random_cifar()))
    import_archive("cifar10", tmp_path / "c.tar.gz", tmp_path)
    builder = tfds.builder("cifar10", data_dir=tmp_path)  # the package's own cifar10
    assert builder.info.features["label"].names[:2] == ["airplane", "automobile"]
    first = builder.as_data_source("test")[0]
    assert first["id"] == b"test_00000" and first["image"].shape == (32, 32, 3)
    info = json.loads((tmp_path / "cifar10/3.0.2/dataset_info.json").read_text())
    assert info["fileFormat"] == "array_record"


def test_nothing_is_overwritten(prepared, tmp_path):
    data_dir, splits = prepared
    source = write_mnist(tmp_path / "other", random_mnist(seed=1))
    message = message_of(import_archive, "mnist", source, data_dir)
    assert f"{data_dir}/mnist/3.0.1 is there already" in message
    assert_same(load("mnist", data_dir), splits)


def test_a_bar_is_shown_on_a_terminal(tmp_path, monkeypatch):
    source = write_mnist(tmp_path / "source", random_mnist())
    reading, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    os.set_blocking(reading, False)
    with open(reading, "rb", buffering=0) as screen, open(terminal, "w") as stderr:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stderr)
            import_archive("mnist", source, tmp_path / "data")
            load("mnist", tmp_path / "data")
        stderr.flush()
        shown = screen.read(100_000).decode()
    assert "import mnist" in shown and "/40" in shown


def change(folder, name, content):
    (folder / f"{name}.gz").write_bytes(gzip.compress(content))


BAD_IDX = {
    "labels instead of images": (
        lambda s: change(s, "train-images-idx3-ubyte", idx_bytes(np.zeros(30, np.uint8))),
        ["train-images-idx3-ubyte.gz", "starts with 2049", "2051"],
    ),
    "short": (
        lambda s: change(s, "train-labels-idx1-ubyte", b"\0\0"),
        ["train-labels", "only 2 bytes"],
    ),
    "truncated": (
        lambda s: change(s, "t10k-labels-idx1-ubyte", idx_bytes(np.zeros(10, np.uint8))[:-1]),
        ["t10k-labels", "has 9 values but announces 10"],
    ),
    "longer": (
        lambda s: change(s, "t10k-labels-idx1-ubyte", idx_bytes(np.zeros(10, np.uint8)) + b"x"),
        ["t10k-labels", "has 11 values but announces 10"],
    ),
    "more labels than images": (
        lambda s: change(s, "t10k-labels-idx1-ubyte", idx_bytes(np.zeros(11, np.uint8))),
        ["10 examples", "11 labels"],
    ),
    "label 10": (
        lambda s: change(s, "train-labels-idx1-ubyte", idx_bytes(np.full(30, 10, np.uint8))),
        ["y_train is 10", "0..9"],
    ),
    "other size": (
        lambda s: change(s, "t10k-images-idx3-ubyte", idx_bytes(np.zeros((10, 8, 9), np.uint8))),
        ["8 x 9", "28 x 28"],
    ),
    "none": (
        lambda s: change(s, "t10k-labels-idx1-ubyte", idx_bytes(np.zeros(0, np.uint8))),
        ["0 labels"],
    ),
    "not gzip": (
        lambda s: (s / "train-labels-idx1-ubyte.gz").write_bytes(b"<html>"),
        ["train-labels-idx1-ubyte.gz is damaged"],
    ),
    "gzip cut off": (
        lambda s: (s / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"x" * 99)[:-9]),
        ["train-labels-idx1-ubyte.gz is damaged"],
    ),
    "missing": (
        lambda s: (s / "t10k-images-idx3-ubyte.gz").unlink(),
        ["no t10k-images-idx3-ubyte", "download"],
    ),
}


@pytest.mark.parametrize("case", BAD_IDX)
def test_bad_idx_files_are_named_and_leave_nothing(tmp_path, case):
    source = write_mnist(tmp_path / "source", random_mnist())
    spoil, words = BAD_IDX[case]
    spoil(source)
    message = message_of(import_archive, "mnist", source, tmp_path / "data")
    assert all(word in message for word in words), message
    assert not (tmp_path / "data").exists()


@given(share=st.floats(0, 0.9999), name=st.sampled_from(["train-images-idx3", "t10k-labels-idx1"]))
def test_any_truncation_is_refused(tmp_path_factory, share, name):
    source = write_mnist(tmp_path_factory.mktemp("idx"), random_mnist(), zipped=False)
    path = source / f"{name}-ubyte"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match="download it again"):
        read_idx_folder(source)


def test_wrong_sources(tmp_path):
    (tmp_path / "file").write_text("")
    assert f"{tmp_path}/no does not exist" in message_of(
        import_archive, "mnist", tmp_path / "no", tmp_path
    )
    assert "file is not a folder" in message_of(
        import_archive, "mnist", tmp_path / "file", tmp_path
    )
    assert "cannot import 'digits'; choose one of mnist" in message_of(
        import_archive, "digits", tmp_path, tmp_path
    )


def test_a_data_folder_that_cannot_be_written(tmp_path):
    source = write_mnist(tmp_path / "source", random_mnist())
    (tmp_path / "file").write_text("")
    message = message_of(import_archive, "mnist", source, tmp_path / "file")
    assert "file/mnist/3.0.1 cannot be written" in message and "--data-dir" in message
