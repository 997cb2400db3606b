"""Small archives in the formats of MNIST and CIFAR-10, and data sets prepared from them."""

import gzip
import io
import pickle
import struct
import tarfile

import numpy as np
import pytest

from rso_jax.errors import UserError

TRAIN, TEST = 30, 10
CIFAR_TRAIN = 15  # divisible by the five batches


def message_of(call, *arguments):
    """The message of the UserError that a call raises: one line."""
    with pytest.raises(UserError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message and "\n" not in message
    return message


def idx_bytes(array):
    """``array`` of uint8 as an IDX file."""
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def random_mnist(seed=0):
    """{"train": (images [N, 28, 28, 1], labels [N]), "test": ...}."""
    rng = np.random.default_rng(seed)
    return {
        split: (
            rng.integers(0, 256, (n, 28, 28, 1), dtype=np.uint8),
            rng.integers(0, 10, n, dtype=np.uint8),
        )
        for split, n in (("train", TRAIN), ("test", TEST))
    }


def write_mnist(folder, splits, mark="-", zipped=True):
    """Write the four files of MNIST; ``mark`` comes before "idx"."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, stem in (("train", "train"), ("test", "t10k")):
        images, labels = splits[split]
        for name, array in (
            (f"{stem}-images{mark}idx3-ubyte", images[..., 0]),
            (f"{stem}-labels{mark}idx1-ubyte", labels),
        ):
            content = idx_bytes(array)
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)
    return folder


def random_cifar(seed=0):
    """{"train": (images [N, 32, 32, 3], labels [N]), "test": ...}."""
    rng = np.random.default_rng(seed)
    return {
        split: (
            rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8),
            rng.integers(0, 10, n),
        )
        for split, n in (("train", CIFAR_TRAIN), ("test", TEST))
    }


def old_pickle(data, labels):
    """A batch as Python 2 pickled the published ones: byte strings, 0 and 1 for flags."""
    return (
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"K\x00\x85U\x01b\x87R(K\x01K" + bytes([len(data)]) + b"M\x00\x0c\x86cnumpy\ndtype\n"
        b"U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<i", data.size)
        + data.tobytes()
        + b"tbU\x06labels]("
        + b"".join(b"K" + bytes([int(label)]) for label in labels)
        + b"eu."
    )


def new_pickle(data, labels):
    """A batch as NumPy 2 pickles it."""
    return pickle.dumps({b"data": data, b"labels": [int(i) for i in labels]}, protocol=2)


def cifar_batches(splits, dump=old_pickle):
    """The six batches by name."""
    flat = {s: (x.transpose(0, 3, 1, 2).reshape(len(x), -1), y) for s, (x, y) in splits.items()}
    step = CIFAR_TRAIN // 5
    batches = {
        f"data_batch_{i + 1}": dump(*(a[i * step : (i + 1) * step] for a in flat["train"]))
        for i in range(5)
    }
    return {**batches, "test_batch": dump(*flat["test"])}


def write_cifar_archive(path, batches):
    """Write cifar-10-python.tar.gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in {"readme.html": b"<p>", **batches}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_cifar_folder(folder, batches):
    """Write the folder that the archive holds."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in batches.items():
        (folder / name).write_bytes(content)
    return folder


def assert_same(dataset, splits):
    """``dataset`` has exactly the pixels and labels of ``splits``."""
    for split, x, y in (
        ("train", dataset.x_train, dataset.y_train),
        ("test", dataset.x_test, dataset.y_test),
    ):
        np.testing.assert_array_equal(x, splits[split][0], strict=True)
        np.testing.assert_array_equal(y, splits[split][1])
        assert y.dtype == np.int32
