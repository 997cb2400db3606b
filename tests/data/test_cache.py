import os
import shutil

import numpy as np
import pytest
from small_archives import assert_same, random_mnist, write_mnist

from rso_jax.data import load
from rso_jax.data.cache import KEYS, read_cache
from rso_jax.data.importing import import_archive


def files(folder):
    return sorted(folder.iterdir())


def test_the_second_load_reads_no_record(prepared, tmp_path):
    data_dir, splits = prepared
    load("mnist", data_dir, tmp_path / "kept")
    for path in (data_dir / "mnist/3.0.1").glob("*.array_record*"):
        stat = path.stat()
        path.write_bytes(b"x" * stat.st_size)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert_same(load("mnist", data_dir, tmp_path / "kept"), splits)
    assert len(files(tmp_path / "kept")) == 1


def test_another_data_set_in_the_same_folder_is_read_again(prepared, tmp_path):
    data_dir, splits = prepared
    assert_same(load("mnist", data_dir), splits)
    shutil.rmtree(data_dir)
    other = random_mnist(seed=1)
    import_archive("mnist", write_mnist(tmp_path / "other", other), data_dir)
    assert_same(load("mnist", data_dir), other)


@pytest.mark.parametrize("damage", ["empty", "truncated", "garbage", "one bit", "other arrays"])
def test_a_damaged_file_is_made_again(prepared, tmp_path, damage):
    data_dir, splits = prepared
    load("mnist", data_dir)
    (path,) = files(tmp_path / "cache")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "other arrays":
        np.savez(path, something=np.zeros(3))
    else:
        path.write_bytes(
            {
                "empty": b"",
                "truncated": content[: len(content) // 2],
                "garbage": b"x" * len(content),
                "one bit": content,
            }[damage]
        )
    assert read_cache(path) is None
    assert_same(load("mnist", data_dir), splits)
    assert set(read_cache(path)) == set(KEYS)
    assert files(tmp_path / "cache") == [path]


def test_a_folder_that_cannot_be_written_only_warns(prepared, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert_same(load("mnist", prepared[0], tmp_path / "file/cache"), prepared[1])
    warning = capsys.readouterr().err
    assert warning.startswith("rso: warning: ") and warning.count("\n") == 1
    assert str(tmp_path / "file/cache") in warning and "RSO_CACHE_DIR" in warning
