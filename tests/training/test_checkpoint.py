"""Checkpoints: whole or not there; a damaged one is named and an older one used."""

import jax.numpy as jnp
import numpy as np
import pytest

from rso_jax import UserError
from rso_jax.training.checkpoint import KEPT, load_checkpoint, save_checkpoint


def state(number):
    """Every type a run may hold, and a leaf without elements of its own."""
    return {
        "weights": jnp.full((3, 2), number, jnp.float32),
        "half": jnp.asarray([number, 0.1], jnp.bfloat16),
        "count": jnp.asarray(number, jnp.int32),
        "nested": [jnp.arange(4), ()],
    }


def save(folder, *numbers):
    for number in numbers:
        save_checkpoint(folder, number, state(number), {"cycle": number, "loss": 0.1})


def load(folder):
    warnings = []
    return load_checkpoint(folder, state(0), warnings.append), warnings


def assert_number(found, number):
    restored_number, restored, progress = found
    assert restored_number == number and progress == {"cycle": number, "loss": 0.1}
    for name in ("weights", "half", "count"):
        assert restored[name].dtype == state(0)[name].dtype
        np.testing.assert_array_equal(restored[name], state(number)[name])


def test_the_newest_is_restored_and_the_last_few_are_kept(tmp_path):
    save(tmp_path, *range(1, KEPT + 3))
    found, warnings = load(tmp_path)
    assert_number(found, KEPT + 2)
    assert not warnings
    assert len(list(tmp_path.iterdir())) == KEPT


def test_a_state_of_another_structure_is_named(tmp_path):
    save(tmp_path, 1)
    with pytest.raises(UserError, match=r"00000001 .*start anew"):
        load_checkpoint(tmp_path, {"others": jnp.zeros(3)}, print)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (jnp.zeros((3, 3)), r"weights is \(3, 2\) float32 in the checkpoint and \(3, 3\) float32"),
        (jnp.zeros((3, 2), jnp.int32), r"and \(3, 2\) int32 here"),
    ],
    ids=["shape", "type"],
)
def test_a_state_of_another_shape_or_type_is_named(weights, said, tmp_path):
    save(tmp_path, 1)
    with pytest.raises(UserError, match=said):
        load_checkpoint(tmp_path, state(0) | {"weights": weights}, print)


def test_none_without_checkpoints(tmp_path):
    assert load(tmp_path / "no") == (None, [])


def test_what_an_interrupted_write_left_is_no_checkpoint(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "partial-1-00000002" / "state").mkdir(parents=True)
    found, warnings = load(tmp_path)
    assert_number(found, 1)
    assert not warnings
    save(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00000001", "00000002"]


@pytest.mark.parametrize("name", ["progress.json", "manifest.json", "state"])
@pytest.mark.parametrize("damage", ["cut short", "removed"])
def test_a_damaged_one_is_named_and_put_aside(name, damage, tmp_path):
    save(tmp_path, 1, 2)
    newest = tmp_path / "00000002"
    files = [newest / name] if name != "state" else (newest / name).rglob("*")
    largest = max((p for p in files if p.is_file()), key=lambda p: p.stat().st_size)
    if damage == "removed":
        largest.unlink()
    else:
        largest.write_bytes(largest.read_bytes()[:-3])
    found, (warning,) = load(tmp_path)
    assert_number(found, 1)
    assert str(newest) in warning and "damaged" in warning and "\n" not in warning

    save(tmp_path, 2)  # the number is free again
    found, warnings = load(tmp_path)
    assert_number(found, 2)
    assert not warnings


def test_all_damaged(tmp_path):
    save(tmp_path, 1, 2)
    for path in tmp_path.iterdir():
        (path / "progress.json").write_text("{}")
    found, warnings = load(tmp_path)
    assert found is None and len(warnings) == 2
