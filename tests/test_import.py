"""``import rso_jax`` loads jax, optax and numpy; a search runs where nothing else is."""

import runpy
import subprocess
import sys

import pytest

import rso_jax

CORE = """
import sys

class Refuse:
    blocked = {blocked!r}
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.blocked:
            raise ImportError(f"{{name}} is not for the core")

sys.meta_path.insert(0, Refuse())
import jax, jax.numpy as jnp, optax, numpy
before = set(sys.modules)
import rso_jax
new = {{name.split(".")[0] for name in set(sys.modules) - before}}
assert new <= {{"jax", "rso_jax"}}, new
assert not [n for n in sys.modules if n.startswith(("rso_jax.data", "rso_jax.networks",
    "rso_jax.training", "rso_jax.cli", "rso_jax.plots", "rso_jax.baselines"))]

search = rso_jax.rso(lambda params, batch: jnp.sum((params["w"] - batch) ** 2))
state = search.init(jax.random.key(0), {{"w": jnp.ones(3)}})
state, info = rso_jax.step(search, jax.random.key(1), state, jnp.zeros((1, 1)))
assert info.visits == 3
"""
LATER = (
    "array_record",
    "evosax",
    "flax",
    "matplotlib",
    "orbax",
    "sklearn",
    "tensorflow",
    "tensorflow_datasets",
    "tqdm",
    "tyro",
)


def test_the_core_needs_no_more_than_jax_and_optax():
    script = CORE.format(blocked=LATER)
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_every_name_it_promises_is_there():
    for name in rso_jax.__all__:
        assert getattr(rso_jax, name) is not None


def test_the_package_runs_as_the_program(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["rso", "nonsense"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("rso_jax", run_name="__main__")
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("rso: error: the command is 'nonsense'")


TRAINING = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("flax", "sklearn", "tensorflow_datasets", "matplotlib") or (
            name.startswith(("rso_jax.networks", "rso_jax.data"))
        ):
            raise ImportError(f"{name} is not for training")

sys.meta_path.insert(0, Refuse())
import jax.numpy as jnp, numpy as np
from rso_jax import rso
from rso_jax.tasks import Task
from rso_jax.training import train

task = Task(
    init=lambda key: {"w": jnp.ones(2)},
    batches=lambda rng, cycle: {"x": np.ones((1, 3, 2), np.float32)},
    batch_size=lambda cycle: 3,
    score=lambda params, kept: {"error": params["w"].sum()},
)
search = rso(lambda params, batch: jnp.mean((batch["x"] @ params["w"]) ** 2))
assert len(train(search, task, cycles=1).metrics) == 1
"""


def test_training_on_a_task_of_ones_own_needs_no_networks_and_no_data():
    found = subprocess.run([sys.executable, "-c", TRAINING], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
