"""Frozen, shared, keyed and auxiliary in the loop, resumed bit for bit; what is lost is told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_problem import CYCLES, NETWORK, StopAtLook, points, task

from rso_jax import presets, rso, step
from rso_jax.mesh import make_mesh, place
from rso_jax.networks import cross_entropy
from rso_jax.tasks import Task
from rso_jax.training import ConsoleReporter, keys, train

SHARED = {"weights": np.array([1.0, 2.0, 0.5], np.float32), "temperature": 1.5}


def loss(params, batch, key):
    """Dropout, weighted classes, and the accuracy besides; large weights lose the loss."""
    kept = jax.random.bernoulli(key, 0.9, batch["image"].shape)
    logits = NETWORK.logits(params, jnp.where(kept, batch["image"], 0)) / batch["temperature"]
    logits = logits * batch["weights"]
    right = jnp.argmax(logits, -1) == batch["label"]
    largest = jnp.max(jnp.abs(logits))
    value = cross_entropy(logits, batch["label"]) + jnp.where(largest > 3, jnp.inf, 0.0)
    return value, {"accuracy": jnp.mean(right), "logits": logits}


def run(folder=None, **more):
    search = rso(
        loss,
        searched=lambda path: path.endswith("kernel"),
        shared=lambda path: path in SHARED,
        has_aux=True,
        keyed=True,
        **presets.authors_code(CYCLES),
    )
    return train(
        search,
        task(shared=SHARED),
        cycles=CYCLES,
        folder=folder,
        **more,
    )


def test_a_run_and_a_resumed_one(tmp_path, capsys):
    whole = run(reporter=ConsoleReporter())
    stopped = run(tmp_path / "run", stop=StopAtLook(4))
    assert stopped.stopped and stopped.progress.weight_updates < 12 * CYCLES
    resumed = run(tmp_path / "run", resume=True)
    for a, b in zip(*map(jax.tree.leaves, (whole.params, resumed.params)), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    for line, again in zip(whole.metrics, resumed.metrics, strict=True):
        assert line | {"seconds": 0} == again | {"seconds": 0}
    last = whole.metrics[-1]
    assert last["weight_updates"] == 12 * CYCLES  # of the kernel alone
    assert last["updates_per_weight"] == CYCLES
    assert set(last["aux"]) == {"accuracy"} and 0 <= last["aux"]["accuracy"] <= 1
    assert last["candidates"] == 3 * 12
    said = capsys.readouterr().out
    for line in whole.metrics:
        share = f"{100 * line['not_finite'] / line['candidates']:.2g} % of candidates"
        assert (share in said) == (line["not_finite"] > 0)
    assert any(line["not_finite"] for line in whole.metrics)


def weighted(params, batch):
    """Weighted classes and a matrix that is no stack."""
    logits = (batch["x"] @ params["w"]) @ batch["mix"] / batch["temperature"]
    return cross_entropy(logits * batch["weights"], batch["label"])


@pytest.mark.parametrize("on", ["one device", "a mesh"])
@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray], ids=["of the host", "of JAX"])
def test_a_task_of_ones_own_shares_arrays_of_any_kind(kind, on):
    data, size = points(), 10
    mesh = make_mesh(1, 1) if on == "a mesh" else None
    stack = {"x": data.x_train.reshape(3, size, 4), "label": data.y_train.reshape(3, size)}
    shared = {
        "weights": kind(SHARED["weights"]),
        "temperature": 1.5,
        "mix": kind(np.eye(3, dtype=np.float32)),
    }
    own = Task(
        init=lambda key: {"w": jnp.full((4, 3), 0.1)},
        batches=lambda rng, cycle: stack | shared,
        batch_size=lambda cycle: size,
        score=lambda params, kept: {"norm": jnp.sum(params["w"] ** 2)},
    )
    search = rso(weighted, shared=lambda path: path in shared, mesh=mesh)
    found = train(search, own, cycles=1)
    state = search.init(keys.of_method(0), {"w": jnp.full((4, 3), 0.1)})
    expected, _ = step(search, keys.of_cycle(0, 0), state, place(mesh, stack | shared))
    np.testing.assert_array_equal(found.params["w"], expected.params["w"])
    assert np.any(found.params["w"] != np.float32(0.1))
