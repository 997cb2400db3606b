"""Proposals, sigma, schedules, mini-batches and presets, one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import mlp_params

from rso_jax import UserError, presets
from rso_jax.search import acceptance, minibatches, proposals, sigma

KEY = jax.random.key(0)


@pytest.mark.parametrize("proposal", [proposals.normal, proposals.uniform])
def test_proposals_are_antithetic_and_have_standard_deviation_sigma(proposal):
    keys = jax.random.split(KEY, 20_000)
    draws = jax.vmap(lambda k: proposal(k, jnp.float32(7.0), jnp.float32(0.3)))(keys)
    assert draws.shape == (20_000, 2)
    np.testing.assert_array_equal(draws[:, 0], -draws[:, 1])
    np.testing.assert_allclose(jnp.std(draws[:, 0]), 0.3, rtol=0.02)
    np.testing.assert_allclose(jnp.mean(draws[:, 0]), 0.0, atol=0.01)


@pytest.mark.parametrize("proposal", [proposals.normal, proposals.uniform])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_proposals_keep_the_type_of_the_weight(proposal, dtype):
    weight = jnp.ones((), dtype)
    assert proposal(KEY, weight, weight).dtype == dtype


@given(st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=8))
@settings(max_examples=30)
def test_greedy_keeps_the_first_smallest(losses):
    got = int(acceptance.greedy(KEY, jnp.asarray(losses)))
    assert got == int(np.argmin(np.asarray(losses, np.float32)))


def test_he_sigma_of_kernels_and_of_batch_norm():
    params = {"conv": jnp.zeros((3, 3, 16, 32)), "dense": jnp.zeros((50, 10)), "scale": jnp.ones(4)}
    found = sigma.he(params)
    assert float(found["conv"]) == pytest.approx((2 / 144) ** 0.5)
    assert float(found["dense"]) == pytest.approx((2 / 50) ** 0.5)
    assert float(found["scale"]) == pytest.approx(0.167)


def test_empirical_sigma_is_the_spread_at_the_start():
    params = mlp_params(KEY, inputs=40, hidden=30)
    found = sigma.empirical(params)
    kernel = params["first"]["kernel"]
    assert float(found["first"]["kernel"]) == pytest.approx(float(jnp.std(kernel)), rel=1e-6)
    assert float(found["first"]["scale"]) == pytest.approx(0.167)


@pytest.mark.parametrize("cycles", [1, 2, 5, 50])
def test_sigma_schedules_of_the_two_presets(cycles):
    authors = presets.authors_code(cycles)["schedule"]
    paper = presets.paper(cycles)["schedule"]
    for c in range(cycles):
        assert float(authors(c)) == pytest.approx(0.1 + 0.9 * (cycles - c) / cycles)
    assert float(paper(0)) == 1.0
    if cycles > 1:
        assert float(paper(cycles - 1)) == pytest.approx(0.1)
        steps = np.diff([float(paper(c)) for c in range(cycles)])
        np.testing.assert_allclose(steps, steps[0], rtol=1e-4)


def test_presets_differ_where_the_documentation_says():
    paper, authors = presets.paper(10), presets.authors_code(10)
    assert (paper["weight_decay"], authors["weight_decay"]) == (0.0, 1e-4)
    assert (paper["sigma"], authors["sigma"]) == (sigma.empirical, sigma.he)
    assert (paper["minibatches"], authors["minibatches"]) == (minibatches.fresh, minibatches.cycled)


def test_presets_ask_for_a_cycle():
    for preset in presets.PRESETS.values():
        with pytest.raises(UserError, match="cycles is 0"):
            preset(0)


def stack(m=4, n=3):
    numbers = jnp.arange(m * n).reshape(m, n)
    return {"image": numbers[..., None] * jnp.ones(2), "label": numbers}


def test_cycled_mini_batches_hold_every_example_once_and_come_in_turn():
    arranged = minibatches.cycled.arrange(KEY, stack())
    assert sorted(arranged["label"].ravel().tolist()) == list(range(12))
    assert arranged["label"].ravel().tolist() != list(range(12))
    np.testing.assert_array_equal(arranged["image"][..., 0], arranged["label"])
    for visit in range(9):
        picked = minibatches.cycled.select(KEY, arranged, jnp.asarray(visit))
        np.testing.assert_array_equal(picked["label"], arranged["label"][visit % 4])


def test_fresh_mini_batches_are_drawn_from_all_examples_without_repetition():
    seen = set()
    for visit in range(40):
        key = jax.random.fold_in(KEY, visit)
        picked = minibatches.fresh.select(key, stack(), jnp.asarray(visit))
        labels = picked["label"].tolist()
        assert len(set(labels)) == 3
        np.testing.assert_array_equal(picked["image"][:, 0], picked["label"])
        seen |= set(labels)
    assert seen == set(range(12))


@pytest.mark.parametrize(
    ("batches", "said"),
    [
        ({"x": jnp.ones((2, 3, 4)), "y": jnp.ones((2, 4))}, r"\(2, 3, 4\)"),
        ({"x": jnp.ones(3)}, r"\(3,\)"),
        ({"x": jnp.ones((0, 3))}, "none to use"),
        ({}, "no array"),
    ],
)
def test_batches_of_other_shapes_are_refused(batches, said):
    with pytest.raises(UserError, match=said):
        minibatches.stack_shape(batches)
