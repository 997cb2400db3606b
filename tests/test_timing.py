"""How long a cycle takes, by samples of its stages: of searches and of a gradient method."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rso_jax import rso
from rso_jax.baselines import cosine_sgd, gradient_method
from rso_jax.search.joint import Block, parabola
from rso_jax.timing import add_up, time_cycle

KEY = jax.random.key(0)
PARAMS = {"w": jnp.ones((5, 3)), "b": jnp.zeros(3)}
BATCHES = np.random.default_rng(0).normal(size=(4, 7, 5)).astype(np.float32)


def loss_fn(params, batch):
    return jnp.mean((jnp.tanh(batch @ params["w"]) + params["b"] - 0.5) ** 2)


METHODS = {
    "weights": (rso(loss_fn, donate=True), {"w": 15, "b": 3}),
    "blocks": (rso(loss_fn, donate=True, block=Block("leaf", parabola())), {"w": 15, "b": 3}),
    "sgd": (gradient_method(loss_fn, cosine_sgd(learning_rate=0.1, steps=8)), {"epoch": 4}),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_stage_of_a_method_is_timed(name):
    method, visits = METHODS[name]
    found = time_cycle(method, KEY, method.init(KEY, PARAMS), BATCHES)
    assert {time.visits for time in found.stages} == set(visits.values())
    assert len(found.stages) == len(visits)
    assert all(time.measured and time.visit_seconds > 0 for time in found.stages)
    assert found == add_up(found.stages)
    assert found.seconds == sum(time.seconds for time in found.stages)
    assert found.compile_seconds >= 0


def test_what_is_not_reached_is_estimated_by_cost():
    method, _ = METHODS["weights"]
    costs = {"b": 30.0, "w": 10.0}
    state = method.init(KEY, PARAMS)
    found = time_cycle(method, KEY, state, BATCHES, costs=costs, limit=0.0)
    times = {time.name: time for time in found.stages}
    assert times["b"].measured and not times["w"].measured
    assert times["w"].seconds == pytest.approx(times["b"].seconds / 3)
    assert times["w"].compile_seconds == times["b"].compile_seconds
    assert [time.name for time in found.stages] == [
        s.name for s in method.stages(KEY, state, BATCHES)
    ]
