"""Proposals, sigma, schedules, mini-batches and presets, one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import mlp_params

from rso_jax import UserError, presets, rso, step
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


@given(st.lists(st.floats(-1e6, 1e6, width=32, allow_subnormal=False), min_size=1, max_size=8))
@settings(max_examples=30)
def test_greedy_keeps_the_first_smallest(losses):
    got = int(acceptance.greedy(KEY, jnp.asarray(losses), jnp.asarray(0)))
    assert got == int(np.argmin(np.asarray(losses, np.float32)))


def test_several_pairs_are_drawn_apart_and_scaled():
    propose = proposals.antithetic(proposals.normal_distance, pairs=3, scales=(1.0, 0.25))
    keys = jax.random.split(KEY, 5_000)
    drawn = jax.vmap(lambda k: propose(k, jnp.float32(7.0), jnp.float32(0.3)))(keys)
    assert drawn.shape == (5_000, 12)
    np.testing.assert_array_equal(drawn[:, 0::2], -drawn[:, 1::2])
    np.testing.assert_allclose(drawn[:, 2::4], 0.25 * drawn[:, 0::4], rtol=1e-6)
    apart = np.corrcoef(drawn[:, 0::4].T)
    np.testing.assert_allclose(apart, np.eye(3), atol=0.05)


@pytest.mark.parametrize("wrong", [{"pairs": 0}, {"scales": ()}, {"pairs": 64}])
def test_numbers_of_pairs_that_cannot_be(wrong):
    with pytest.raises(UserError, match="perturbation"):
        proposals.antithetic(proposals.normal_distance, **wrong)


def test_proposals_without_randomness():
    weight, scale = jnp.float32(0.7), jnp.float32(0.2)
    np.testing.assert_allclose(proposals.fixed(KEY, weight, scale), [0.2, -0.2])
    np.testing.assert_allclose(weight + proposals.sign_flip(KEY, weight, scale), [-0.7])


@pytest.mark.parametrize("weight", [-0.2, 0.0, 0.2, 0.15, -9.0])
def test_a_ternary_weight_is_tried_at_the_two_other_values(weight):
    scale = jnp.float32(0.2)
    tried = weight + proposals.ternary_step(KEY, jnp.float32(weight), scale)
    nearest = min([-0.2, 0.0, 0.2], key=lambda value: abs(value - weight))
    others = sorted({-0.2, 0.0, 0.2} - {nearest})
    np.testing.assert_allclose(sorted(tried.tolist()), others, atol=1e-6)


def test_the_last_candidate_is_taken_if_it_is_finite():
    for losses, index in (([1.0, 0.5, 9.0], 2), ([1.0, 0.5, np.inf], 0)):
        assert acceptance.last(KEY, jnp.array(losses), 0) == index


def test_metropolis_samples_the_boltzmann_distribution():
    # Independent weights in the well (w^2 - 1)^2 of two minima, a chain each.
    chains, temperature = 2_000, 0.5

    def loss(w, batch):
        return jnp.sum((w**2 - 1) ** 2) * batch[0]

    search = rso(
        loss,
        sigma=jnp.asarray(1.0),
        acceptance=acceptance.metropolis(temperature),
        minibatches=minibatches.per_cycle,
    )
    state, batches = search.init(KEY, jnp.zeros(chains)), jnp.ones((1, 1))
    for cycle in range(60):
        state, _ = step(search, jax.random.fold_in(KEY, cycle), state, batches)
    grid = np.linspace(-4, 4, 4001)
    density = np.exp(-((grid**2 - 1) ** 2) / temperature)
    expected = np.cumsum(density) / density.sum()
    found = np.searchsorted(np.sort(np.asarray(state.params)), grid, side="right") / chains
    # Kolmogorov-Smirnov: 1.95 / sqrt(n) is exceeded by chance once in a thousand times.
    assert np.abs(found - expected).max() < 1.95 / chains**0.5


def test_a_cold_metropolis_accepts_improvements_only_and_cools_by_schedule():
    accept = acceptance.metropolis(lambda cycle: jnp.where(cycle == 0, 1e6, 0.0))
    keys = jax.random.split(KEY, 300)

    def choose(losses, cycle):
        losses = jnp.asarray(losses)
        return jax.vmap(lambda k: accept(k, losses, jnp.asarray(cycle)))(keys)

    assert set(choose([1.0, 2.0, 0.5], 1).tolist()) == {0, 2}
    assert set(choose([1.0, 2.0, 1.0], 1).tolist()) == {0}
    assert set(choose([1.0, 2.0, 0.5], 0).tolist()) == {1, 2}
    assert set(choose([jnp.inf, jnp.inf, 0.5], 1).tolist()) == {0, 2}
    assert set(choose([1.0, jnp.inf, jnp.inf], 0).tolist()) == {0}


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


def test_cycled_mini_batches_hold_every_example_once():
    arranged = minibatches.cycled.arrange(KEY, stack())
    assert sorted(arranged["label"].ravel().tolist()) == list(range(12))
    assert arranged["label"].ravel().tolist() != list(range(12))
    np.testing.assert_array_equal(arranged["image"][..., 0], arranged["label"])


@pytest.mark.parametrize("piece", [minibatches.per_leaf, minibatches.per_cycle])
def test_one_mini_batch_for_a_sweep(piece):
    arranged = piece.arrange(KEY, stack())
    assert arranged["label"].shape == (1, 3) and len(set(arranged["label"].ravel().tolist())) == 3
    np.testing.assert_array_equal(arranged["image"][..., 0], arranged["label"])


def test_fresh_mini_batches_are_drawn_from_all_examples_without_repetition():
    seen = set()
    for visit in range(40):
        key = jax.random.fold_in(KEY, visit)
        picked = minibatches.fresh.select(key, stack())
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
