"""Files and folders take their name when they are whole."""

import pytest

from rso_jax.files import remove_partial, replace_file, replacing


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "numbers.txt"
    replace_file(path, "one")
    with pytest.raises(RuntimeError), replacing(path) as partial:
        partial.write_text("tw")
        raise RuntimeError("in the middle")
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]
    replace_file(path, b"two")
    assert path.read_text() == "two" and list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "run"
    for content in ("one", "two"):
        with replacing(folder) as partial:
            partial.mkdir()
            (partial / content).touch()
        assert [path.name for path in folder.iterdir()] == [content]
    with pytest.raises(RuntimeError), replacing(folder) as partial:
        partial.mkdir()
        raise RuntimeError("in the middle")
    assert [path.name for path in folder.iterdir()] == ["two"]
    assert list(tmp_path.iterdir()) == [folder]


def test_what_a_kill_left_over_is_removed(tmp_path):
    (tmp_path / "partial-1-run").mkdir()
    (tmp_path / "partial-1-metrics.jsonl").touch()
    (tmp_path / "run").mkdir()
    remove_partial(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
