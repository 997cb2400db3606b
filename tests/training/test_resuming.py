"""What a run does not go on from: another seed, another method or task, nothing to go on with."""

import hashlib
import json
import shutil

import pytest
from small_problem import CYCLES, NETWORK, StopAtLook, points, search, task

from rso_jax import UserError
from rso_jax.baselines import cosine_adam, cosine_sgd, gradient_method
from rso_jax.networks import create, loss_of
from rso_jax.tasks import classification
from rso_jax.training import train


def sgd(network=NETWORK, optimizer=None):
    optimizer = optimizer or cosine_sgd(learning_rate=0.1, steps=6)
    return gradient_method(loss_of(network), optimizer)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    folder = tmp_path_factory.mktemp("begun")
    train(sgd(), task(), cycles=CYCLES, folder=folder, stop=StopAtLook(2))
    return folder


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    folder = tmp_path_factory.mktemp("complete")
    train(sgd(), task(), cycles=CYCLES, folder=folder)
    return folder


@pytest.fixture
def copy(begun, tmp_path):
    return shutil.copytree(begun, tmp_path / "run")


def go_on(folder, method=None, problem=None, **options):
    options = {"cycles": CYCLES, "folder": folder, "resume": True} | options
    return train(method or sgd(), problem or task(), **options)


def content_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_seed_is_refused(copy):
    before = content_of(copy)
    with pytest.raises(UserError, match=r"seed is 4, but the run .* begun with seed 0; go on with"):
        go_on(copy, seed=4)
    assert content_of(copy) == before


def test_a_checkpoint_that_does_not_know_its_seed_goes_on(copy):
    for checkpoint in (copy / "checkpoints").iterdir():
        progress = json.loads((checkpoint / "progress.json").read_text())
        del progress["seed"]
        (checkpoint / "progress.json").write_text(json.dumps(progress))
        manifest = json.loads((checkpoint / "manifest.json").read_text())
        written = (checkpoint / "progress.json").read_bytes()
        manifest["progress.json"] = hashlib.sha256(written).hexdigest()
        (checkpoint / "manifest.json").write_text(json.dumps(manifest))
    assert go_on(copy).stopped is None


def test_another_method_or_task_is_refused_and_named(copy):
    wide = create("mlp", (4,), 4, hidden=())
    others = {
        "search": (search(), task()),
        "optimizer": (sgd(optimizer=cosine_adam(learning_rate=0.1, steps=6)), task()),
        "shapes": (sgd(wide), classification(wide, points(), batch_size=10)),
    }
    before = content_of(copy)
    for method, problem in others.values():
        with pytest.raises(UserError, match="another method, another task or another version"):
            go_on(copy, method, problem)
    with pytest.raises(UserError, match=r"bias is \(3,\) float32 in .* and \(4,\) float32"):
        go_on(copy, *others["shapes"])
    assert content_of(copy) == before


@pytest.mark.parametrize("left", ["none", "damaged"])
def test_a_complete_run_without_a_usable_checkpoint_is_left_alone(left, complete, tmp_path):
    folder = shutil.copytree(complete, tmp_path / "run")
    if left == "none":
        shutil.rmtree(folder / "checkpoints")
    else:
        for checkpoint in (folder / "checkpoints").iterdir():
            (checkpoint / "progress.json").write_text("{}")
    kept = {name: (folder / name).read_bytes() for name in ("metrics.jsonl", "params.npz")}
    with pytest.raises(UserError, match="is complete, and without checkpoints there is nothing"):
        go_on(folder)
    assert {name: (folder / name).read_bytes() for name in kept} == kept
    # Of more cycles it is not the end.
    if left == "none":
        assert go_on(folder, cycles=CYCLES + 1).progress.cycle == CYCLES + 1
