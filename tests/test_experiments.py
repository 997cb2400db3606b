"""Experiments go on where they were interrupted, on another machine too."""

import importlib
import json
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rso_jax.errors import UserError
from rso_jax.networks import create
from rso_jax.training.run_folder import read_config

RUN = {
    "dataset": "digits",
    "hidden": (),
    "norm": "none",
    "optimizer": "rso",
    "cycles": 1,
    "batch_size": (100,),
}


@pytest.fixture
def command(monkeypatch):
    """The module by which experiments call ``rso train``."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "experiments")
    return importlib.import_module("command")


@pytest.fixture
def frozen(tmp_path, monkeypatch):
    """The module, in a folder of its own."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "experiments")
    module = importlib.import_module("frozen")
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(module, "UNFINISHED", tmp_path / "unfinished")
    monkeypatch.setenv("RSO_CACHE_DIR", str(tmp_path / "cache"))
    return module


@pytest.fixture
def characters(monkeypatch):
    """The script; asked for before ``frozen``, so that it is loaded with the published results."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "experiments")
    return importlib.import_module("characters")


def run(frozen, folder, monkeypatch, *arguments):
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["experiment", *arguments])
    return frozen.run_experiment("small", {"rso": RUN})


def test_another_machine_goes_on_to_the_same_end(frozen, command, tmp_path, monkeypatch):
    result, carried = (
        tmp_path / name / "small" / "rso-seed0" for name in ("results", "unfinished")
    )
    assert run(frozen, tmp_path / "one", monkeypatch) == 0
    with np.load(result / "params.npz") as file:
        wanted = dict(file)
    result.rename(tmp_path / "uninterrupted")

    begun = tmp_path / "two"
    assert command.run_settings(begun, RUN, max_minutes=1e-9) == 0
    assert not frozen.publish(begun, result) and not result.exists()
    frozen.carry(begun, carried)
    assert run(frozen, tmp_path / "three", monkeypatch) == 0
    with np.load(result / "params.npz") as file:
        np.testing.assert_equal(dict(file), wanted)
    assert not carried.exists()


@pytest.mark.parametrize("further", ["here", "carried"])
def test_the_run_that_is_further_on_is_taken(frozen, command, tmp_path, monkeypatch, further):
    """From ``runs`` or from ``unfinished``: what one of them is behind costs nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["experiment"])
    settings = RUN | {"cycles": 2}
    complete = tmp_path / "complete"
    assert command.run_settings(complete, settings) == 0
    numbers = sorted(path.name for path in (complete / "checkpoints").glob("[0-9]*"))
    folders = {
        "here": tmp_path / "runs" / "small" / "rso-seed0",
        "carried": tmp_path / "unfinished" / "small" / "rso-seed0",
    }
    for name, folder in folders.items():
        kept = numbers[-1 if name == further else 0]
        others = [number for number in numbers if number != kept]
        shutil.copytree(complete, folder, ignore=shutil.ignore_patterns(*others))
    (folders["here"] / "of-this-machine").touch()

    assert frozen.run_experiment("small", {"rso": settings}) == 0
    taken = sorted(path.name for path in (folders["here"] / "checkpoints").glob("[0-9]*"))
    assert numbers[-1] in taken and numbers[0] not in taken
    assert (folders["here"] / "of-this-machine").exists() == (further == "here")
    result = tmp_path / "results" / "small" / "rso-seed0"
    with np.load(complete / "params.npz") as wanted, np.load(result / "params.npz") as found:
        np.testing.assert_equal(dict(found), dict(wanted))


def test_what_is_unknown_or_not_tuned_is_said(frozen, tmp_path, monkeypatch, capsys):
    assert run(frozen, tmp_path, monkeypatch, "--only", "sgd") == 2
    assert "--only is 'sgd': known are 'rso'" in capsys.readouterr().err
    with pytest.raises(frozen.UserError, match=r"tune\.py small adam"):
        frozen.tuned("small", {"optimizer": "adam", "cycles": 1})
    assert run(frozen, tmp_path, monkeypatch, "--max-minutes", "0") == 2
    assert "must be above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "slopes", "preset": "spectral", "cycles": 4},
        {"optimizer": "slopes", "learning_rate": 0.1, "cycles": 4},
        {"optimizer": "rso", "cycles": 4},
    ],
)
def test_what_a_script_says_itself_is_not_tuned(frozen, settings):
    assert frozen.tuned("small", settings) == settings


def test_some_runs_have_more_seeds_than_others(frozen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["experiment"])
    runs = {name: RUN for name in ("many", "one")}
    assert frozen.run_experiment("small", runs, seeds={"many": 2}) == 0
    found = sorted(path.name for path in (tmp_path / "results" / "small").iterdir())
    assert found == ["many-seed0", "many-seed1", "one-seed0"]


def test_a_run_has_no_setting_that_its_method_does_not_know(frozen, command, tmp_path):
    folder = tmp_path / "run"
    assert command.run_settings(folder, RUN) == 0
    assert command.has_settings(folder, RUN)
    assert not command.has_settings(folder, RUN | {"momentum": 0.9})
    assert not command.has_settings(folder, RUN | {"cycles": 2})


def test_probes_of_all_nodes_or_weights_tell_the_gradient_and_random_pairs_little(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "experiments")
    cosine = importlib.import_module("cosine")
    network = create("mlp", (4,), 3, (5,), "none")
    params = network.init(jax.random.key(0), jnp.zeros((1, 4)))
    images = jax.random.normal(jax.random.key(1), (16, 4))
    batch = {"image": images, "label": jnp.arange(16) % 3}
    options = cosine.Options(pairs=2, seeds=1)
    found = {
        (way, evaluations): value
        for way, evaluations, _, value in cosine.measure(network, params, batch, options)
    }
    columns, weights = 5 + 3, 4 * 5 + 5 + 5 * 3 + 3
    assert found["nodes", 1 + columns] > 0.98 and found["weights", 1 + weights] > 0.98
    assert found["nodes", 1 + 4 * columns] > 0.98
    assert 0 < found["weights", 1 + 8] < found["weights", 1 + 32] < 0.99
    assert {(way, n) for way, n in found if way in ("es", "spsa")} == {
        (way, n) for way in ("es", "spsa") for n in (2, 4)
    }
    assert abs(found["es", 2]) < 0.9 and abs(found["spsa", 2]) < 0.9


def test_a_leaf_follows_its_own_loss_where_gradients_stand_in_for_slopes(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "experiments")
    local_rates = importlib.import_module("local_rates")
    keys = jax.random.split(jax.random.key(0), 4)
    params = {"a": jax.random.normal(keys[0], (4, 5)), "b": jax.random.normal(keys[1], (5, 3))}
    batch = jax.random.normal(keys[2], (16, 4))

    def first(params, batch):
        return jnp.mean(jnp.tanh(batch @ params["a"]) ** 2)

    def second(params, batch):
        return jnp.mean(jnp.cos(jnp.tanh(batch @ params["a"]) @ params["b"]))

    def losses(params, batch):
        return first(params, batch), second(params, batch)

    found = local_rates.local_gradients(losses, params, batch)(params, batch)
    assert jnp.allclose(found["a"], jax.grad(first)(params, batch)["a"])
    assert jnp.allclose(found["b"], jax.grad(second)(params, batch)["b"])


def test_the_rate_of_characters_is_chosen_before_they_run(
    characters, frozen, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(characters, "RESULTS", frozen.RESULTS)
    monkeypatch.setattr(characters, "NETWORK", {"width": 8, "heads": 2, "layers": 1, "length": 4})
    monkeypatch.setattr(characters, "MINIBATCHES", {"batch_size": 4, "batches_per_cycle": 2})
    monkeypatch.setattr(characters, "RUNS", {"adam": {"method": "adam", "cycles": 2}})
    monkeypatch.setattr(characters, "RATES", (0.001, 0.1))
    file = tmp_path / "text"
    file.write_text("how much wood would a woodchuck chuck " * 5)
    with pytest.raises(UserError, match=r"tuning-adam\.json does not exist; .* --tune first"):
        characters.main(characters.Options(file))
    assert characters.main(characters.Options(file, tune=True)) == 0
    found = json.loads(frozen.tuning_file("characters", "adam").read_text())
    losses = {row["settings"]["learning_rate"]: row["held_out_loss"] for row in found["grid"]}
    assert tuple(losses) == (0.001, 0.1)
    assert losses[found["chosen"]["learning_rate"]] == min(losses.values())
    assert characters.main(characters.Options(file)) == 0
    config = read_config(frozen.RESULTS / "characters" / "adam-seed0")
    assert found["chosen"].items() <= config["settings"].items()
    assert config["text"] == found["text"]


def test_published_characters_ran_with_the_settings_of_the_script(characters):
    for name, settings in characters.RUNS.items():
        config = read_config(characters.RESULTS / "characters" / f"{name}-seed0")
        same = characters.NETWORK | characters.MINIBATCHES | settings | characters.chosen()
        assert config["settings"] == same | {"seed": 0}


def test_generations_are_fewer_where_the_population_is_larger(frozen):
    frozen.tuning_file("small", "pgpe").parent.mkdir(parents=True)
    chosen = '{"chosen": {"batch_size": 32, "population": 256, "sigma": 0.1}}'
    frozen.tuning_file("small", "pgpe").write_text(chosen)
    settings = frozen.tuned("small", {"optimizer": "pgpe", "cycles": 400})
    assert settings == {
        "optimizer": "pgpe",
        "cycles": 100,
        "batch_size": (32,),
        "population": 256,
        "sigma": 0.1,
    }
    borrowed = {"optimizer": "pgpe", "cycles": 400, "chosen_on": "small"}
    assert frozen.tuned("other", borrowed) == settings
