"""Prepared data sets: where they are looked for, and what is said when they are not there."""

import json
import logging
import shutil

import pytest
from small_archives import assert_same, message_of

from rso_jax.data import load
from rso_jax.data.locations import cache_folder, data_folder

IMPORT = "rso data import mnist SOURCE --data-dir"


def edit_info(data_dir, **changes):
    path = data_dir / "mnist/3.0.1/dataset_info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_images_and_labels_are_those_written(prepared):
    data_dir, splits = prepared
    data = load("mnist", data_dir)
    assert (data.name, data.classes) == ("mnist", 10)
    assert_same(data, splits)


def test_nothing_is_said_where_stderr_is_no_terminal(prepared, capfd, caplog):
    level = logging.getLogger("absl").level
    load("mnist", prepared[0])
    assert capfd.readouterr() == ("", "") and not caplog.records
    assert logging.getLogger("absl").level == level


def test_the_data_folder_by_default(prepared, tmp_path, monkeypatch):
    assert data_folder() == tmp_path / "home/tensorflow_datasets"
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared[0]))
    assert data_folder() == prepared[0]
    assert_same(load("mnist"), prepared[1])
    monkeypatch.setenv("RSO_DATA_DIR", "~/mine")
    assert data_folder() == tmp_path / "home/mine"
    assert data_folder("other") == data_folder("./other")


def test_the_cache_folder_by_default(tmp_path, monkeypatch):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("RSO_CACHE_DIR")
    assert cache_folder() == tmp_path / "home/.cache/rso_jax"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg/rso_jax"
    assert cache_folder("~/c") == tmp_path / "home/c"


def test_no_data_folder(tmp_path):
    message = message_of(load, "mnist")
    assert f"{tmp_path}/home/tensorflow_datasets does not exist" in message
    assert f"{IMPORT} {tmp_path}/home/tensorflow_datasets" in message
    assert "--data-dir with a folder" in message
    (tmp_path / "file").write_text("")
    assert "is not a folder" in message_of(load, "mnist", tmp_path / "file")


def test_the_data_set_is_not_in_the_folder(prepared):
    message = message_of(load, "cifar10", prepared[0])
    assert f"cifar10 is not in the data folder {prepared[0]}" in message
    assert f"rso data import cifar10 SOURCE --data-dir {prepared[0]}" in message


def test_only_another_version_is_there(prepared):
    data_dir, _ = prepared
    (data_dir / "mnist/3.0.1").rename(data_dir / "mnist/1.0.0")
    message = message_of(load, "mnist", data_dir)
    assert "only version 1.0.0 but 3.0.1 is needed" in message and IMPORT in message
    shutil.rmtree(data_dir / "mnist/1.0.0")
    assert "no version but 3.0.1" in message_of(load, "mnist", data_dir)


@pytest.mark.parametrize("name", ["dataset_info.json", "mnist-test.array_record-00000"])
def test_a_file_is_missing(prepared, name):
    data_dir, _ = prepared
    load("mnist", data_dir)  # what is kept of it does not hide the loss
    (data_dir / "mnist/3.0.1" / name).unlink()
    message = message_of(load, "mnist", data_dir)
    assert f"incomplete: {name} is missing" in message and f"{IMPORT} {data_dir}" in message


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"splits": [{"name": "train"}]}', "\0"])
def test_the_description_is_damaged(prepared, content):
    (prepared[0] / "mnist/3.0.1/dataset_info.json").write_text(content)
    message = message_of(load, "mnist", prepared[0])
    assert "dataset_info.json is damaged" in message and IMPORT in message


@pytest.mark.parametrize("template", ["{NO_SUCH_FIELD}", "{0}", "{", 3])
def test_file_names_that_cannot_be_worked_out(prepared, template):
    splits = [
        {"name": name, "shardLengths": ["1"], "filepathTemplate": template}
        for name in ("train", "test")
    ]
    edit_info(prepared[0], splits=splits)
    assert "dataset_info.json is damaged" in message_of(load, "mnist", prepared[0])


@pytest.mark.parametrize("file_format", ["tfrecord", "riegeli"])
def test_another_format_needs_tensorflow(prepared, file_format):
    edit_info(prepared[0], fileFormat=file_format)
    message = message_of(load, "mnist", prepared[0])
    assert f"in the {file_format} format" in message and "without TensorFlow" in message
    assert IMPORT in message


@pytest.mark.parametrize("damage", ["truncated", "overwritten", "empty"])
def test_a_record_file_is_damaged(prepared, damage):
    path = prepared[0] / "mnist/3.0.1/mnist-train.array_record-00000"
    content = path.read_bytes()
    path.write_bytes(
        {
            "truncated": content[: len(content) // 2],
            "overwritten": b"x" * len(content),
            "empty": b"",
        }[damage]
    )
    message = message_of(load, "mnist", prepared[0])
    assert "mnist/3.0.1 cannot be read (" in message and IMPORT in message


def test_features_are_missing(prepared):
    (prepared[0] / "mnist/3.0.1/features.json").unlink()
    assert "cannot be read (" in message_of(load, "mnist", prepared[0])
