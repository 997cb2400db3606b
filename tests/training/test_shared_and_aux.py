"""Frozen, shared, keyed and auxiliary in the loop, resumed bit for bit; what is lost is told."""

import jax
import jax.numpy as jnp
import numpy as np
from small_problem import CYCLES, NETWORK, StopAtLook, task

from rso_jax import presets, rso
from rso_jax.networks import cross_entropy
from rso_jax.training import ConsoleReporter, train

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
