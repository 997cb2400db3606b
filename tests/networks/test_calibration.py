"""Calibration against updates repeated many times, for any momentum, values and types."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rso_jax.networks.statistics import calibrated


@st.composite
def averages(draw):
    values = st.floats(-1e4, 1e4, width=32)
    batch, start = (draw(st.lists(values, min_size=3, max_size=3)) for _ in range(2))
    momentum = draw(st.sampled_from([0.0, 0.1, 0.9, 0.99]))
    return np.float32(momentum), np.float32(batch), np.float32(start)


@given(first=averages(), second=averages(), count=st.integers(0, 5))
def test_averages_are_those_of_the_batch_and_counters_count_once(first, second, count):
    # An average with nothing may as well be a product that shrinks; see below.
    assume(all(batch.any() or not start.any() for _, batch, start in (first, second)))

    def update(state):
        new = {"count": state["count"] + 1}
        for name, (m, batch, _) in (("a", first), ("b", second)):
            new[name] = {
                "mean": m * state[name]["mean"] + (1 - m) * batch,
                "fixed": state[name]["fixed"],
            }
        # One average follows another.
        new["b"]["mean"] = new["b"]["mean"] + (1 - second[0]) * state["a"]["mean"]
        return new

    def node(start):
        return {"mean": jnp.asarray(start), "fixed": jnp.asarray(start)}

    initial = {"a": node(first[2]), "b": node(second[2]), "count": jnp.asarray(count)}
    found = calibrated(update, initial)
    assert int(found["count"]) == count + 1
    for name, (_, _, start) in (("a", first), ("b", second)):
        np.testing.assert_array_equal(found[name]["fixed"], start)
    scale = max(1, *(np.abs(x).max() for case in (first, second) for x in case[1:]))
    np.testing.assert_allclose(found["a"]["mean"], first[1], atol=1e-4 * scale)
    np.testing.assert_allclose(found["b"]["mean"], first[1] + second[1], atol=1e-3 * scale)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_averages_of_few_bits(dtype):
    batch = jnp.asarray([0.5, -3.0, 100.0], dtype)

    def update(state):
        old = state["mean"]
        return {"mean": 0.99 * old + 0.01 * batch.astype(old.dtype)}

    found = calibrated(update, {"mean": jnp.zeros(3, dtype)})["mean"]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, batch)


@given(seed=st.integers(0, 50), value=st.floats(0.5, 1e6, width=32))
def test_what_is_no_average_is_as_one_call_leaves_it(seed, value):
    matrix = jax.random.normal(jax.random.key(seed), (4, 4))

    def update(state):
        u = matrix @ matrix.T @ state["power"]["u"]
        return {
            "power": {"u": u / jnp.linalg.norm(u)},
            "largest": {"max": jnp.maximum(state["largest"]["max"], value)},
            "calls": {"n": state["calls"]["n"] + 1},
            "product": {"p": state["product"]["p"] * value},
        }

    initial = {
        "power": {"u": jnp.arange(1.0, 5.0)},
        "largest": {"max": jnp.zeros(2)},
        "calls": {"n": jnp.asarray([0.0, 1e6])},
        "product": {"p": jnp.asarray(3.0)},
    }
    found, expected = calibrated(update, initial), update(initial)
    if value < 2:  # a product that shrinks is an average with nothing
        del found["product"], expected["product"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)
