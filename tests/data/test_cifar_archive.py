"""What is refused of a CIFAR-10 archive: above all, to run code."""

import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_archives import (
    cifar_batches,
    message_of,
    new_pickle,
    old_pickle,
    random_cifar,
    write_cifar_archive,
    write_cifar_folder,
)

from rso_jax.data.cifar_archive import read_cifar10
from rso_jax.errors import UserError


class Runs:
    """Runs a command when unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def archive_with(tmp_path, **changes):
    batches = {**cifar_batches(random_cifar()), **changes}
    kept = {name: content for name, content in batches.items() if content is not None}
    return write_cifar_archive(tmp_path / "cifar.tar.gz", kept)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_asks_for_code_is_refused(tmp_path, protocol):
    bad = pickle.dumps({b"data": Runs(f"touch {tmp_path}/ran")}, protocol=protocol)
    message = message_of(read_cifar10, archive_with(tmp_path, data_batch_3=bad))
    assert "data_batch_3" in message and f"{os.system.__module__}.system" in message
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "reference",
    [
        b"cbuiltins\neval\n.",
        b"cnumpy\nload\n.",
        b"cos\nsystem\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0clib.format.x\x93.",
    ],
)
def test_nothing_but_arrays_can_be_named(tmp_path, reference):
    message = message_of(read_cifar10, archive_with(tmp_path, test_batch=reference))
    assert "it asks for" in message


IMAGES = np.zeros((3, 3072), np.uint8)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps([1, 2]), "no dictionary"),
        (pickle.dumps({b"labels": [1]}), "no dictionary with an array of data"),
        (new_pickle(IMAGES[:, 1:], [0, 1, 2]), "(3, 3071), not uint8 [N, 3072]"),
        (new_pickle(IMAGES.astype(np.float32), [0, 1, 2]), "float32 (3, 3072)"),
        (new_pickle(IMAGES, [0, 1]), "3 images but 2 labels"),
        (pickle.dumps({b"data": IMAGES}, protocol=2), "labels are not a list of whole numbers"),
        (b"", "no batch of CIFAR-10"),
        (b"<html>", "no batch of CIFAR-10"),
    ],
)
def test_batches_of_another_kind(tmp_path, content, words):
    message = message_of(read_cifar10, archive_with(tmp_path, data_batch_2=content))
    assert "data_batch_2" in message and words in message


def test_missing_batches_are_named(tmp_path):
    message = message_of(read_cifar10, archive_with(tmp_path, data_batch_2=None, test_batch=None))
    assert "lacks data_batch_2, test_batch" in message
    (tmp_path / "empty").mkdir()
    assert "lacks data_batch_1" in message_of(read_cifar10, tmp_path / "empty")


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x1f\x8b\x08"])
def test_files_that_are_no_archive(tmp_path, content):
    (tmp_path / "file.tar.gz").write_bytes(content)
    assert "cannot be read" in message_of(read_cifar10, tmp_path / "file.tar.gz")


@given(share=st.floats(0, 0.999))
def test_a_truncated_archive_is_refused(tmp_path_factory, share):
    path = archive_with(tmp_path_factory.mktemp("cifar"))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * (len(content) - 2048))])
    with pytest.raises(UserError):
        read_cifar10(path)


@given(share=st.floats(0, 0.999), dump=st.sampled_from([old_pickle, new_pickle]))
def test_a_truncated_batch_is_refused(tmp_path_factory, share, dump):
    batches = cifar_batches(random_cifar(), dump)
    content = batches["data_batch_4"]
    batches["data_batch_4"] = content[: int(share * len(content))]
    folder = write_cifar_folder(tmp_path_factory.mktemp("cifar"), batches)
    with pytest.raises(UserError, match="data_batch_4 is no batch"):
        read_cifar10(folder)
