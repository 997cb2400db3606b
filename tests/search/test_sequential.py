"""The compiled sweep against the same algorithm written the long way."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_reference import sweep as plain_sweep
from problems import clusters, conv_loss, layer_loss, mlp_loss, mlp_params
from searching import position_of, stage_of, sweep

from rso_jax import rso, step
from rso_jax.method import run_stage
from rso_jax.search import minibatches, proposals

KEY = jax.random.key(3)
# Two ways to sum the same loss differ by rounding: below this a decision may go either way.
ROUNDING = 1e-5


def assert_same_decisions(info, path_shape, choices, losses):
    """Equal, except where the long way's best and second best are closer than rounding."""
    from plain_reference import visiting_order

    got = [int(info.choices[at]) for at in visiting_order(path_shape)]
    for visit, (mine, theirs) in enumerate(zip(got, choices, strict=True)):
        if mine != theirs:
            best, second = sorted(losses[visit])[:2]
            assert second - best < ROUNDING * max(1.0, abs(best)), f"visit {visit}"
            return visit  # from here on the two go different ways
    return None


@pytest.mark.parametrize(
    ("batch_piece", "path", "decay"),
    [
        ("cycled", "first/kernel", 0.0),
        ("cycled", "last/scale", 1e-2),
        ("cycled", "last/kernel", 1e-2),
        ("fresh", "first/kernel", 1e-2),
        ("fresh", "last/scale", 0.0),
        ("fresh", "last/kernel", 0.0),
        ("per_column", "first/kernel", 1e-2),
        ("per_column", "last/scale", 0.0),
        ("per_column", "last/kernel", 0.0),
        ("per_leaf", "first/kernel", 0.0),
        ("per_leaf", "last/scale", 0.0),
        ("per_cycle", "last/kernel", 0.0),
    ],
)
def test_a_sweep_decides_as_the_plain_algorithm(path, batch_piece, decay):
    params, batches = mlp_params(KEY), clusters(KEY)
    pieces = getattr(minibatches, batch_piece)
    search = rso(
        mlp_loss,
        sigma=lambda p: jax.tree.map(lambda a: jnp.asarray(0.3), p),
        weight_decay=decay,
        minibatches=pieces,
    )
    state = search.init(KEY, params)
    state, info = sweep(search, KEY, state, path, batches)
    expected, choices, losses = plain_sweep(
        mlp_loss,
        params,
        path,
        position_of(params, path),
        KEY,
        batches,
        sigma=0.3,
        proposal=proposals.normal,
        minibatches=pieces,
        decay=decay,
    )
    shape = info.choices.shape
    parted = assert_same_decisions(info, shape, choices, losses)
    assert parted is None, "this seed has no near tie"
    chex.assert_trees_all_close(state.params, expected, rtol=1e-6, atol=1e-6)
    assert {1, 2} <= set(choices), "the case should accept both signs"
    assert int(info.accepted) == sum(c != 0 for c in choices)
    if batch_piece in ("cycled", "fresh") or decay:
        scored = 3 * info.visits
    else:  # the incumbent once for each column
        scored = 2 * info.visits + shape[-1]
    assert info.image_evaluations == 40 * scored


def test_a_convolution_kernel_is_swept_output_by_output():
    key = jax.random.key(5)
    params = {
        "conv": {"kernel": jax.random.normal(key, (3, 3, 2, 4))},
        "dense": {"kernel": jax.random.normal(key, (4, 1))},
    }
    batches = {
        "x": jax.random.normal(key, (2, 5, 6, 6, 2)),
        "y": jax.random.normal(key, (2, 5)),
    }
    search = rso(conv_loss)
    state = search.init(key, params)
    state, info = sweep(search, key, state, "conv/kernel", batches)
    expected, choices, losses = plain_sweep(
        conv_loss,
        params,
        "conv/kernel",
        position_of(params, "conv/kernel"),
        key,
        batches,
        sigma=(2 / 18) ** 0.5,
        proposal=proposals.normal,
        minibatches=minibatches.cycled,
        decay=0.0,
    )
    assert assert_same_decisions(info, info.choices.shape, choices, losses) is None
    chex.assert_trees_all_close(state.params, expected, rtol=1e-6, atol=1e-6)


@settings(max_examples=10)
@given(data=st.data(), seed=st.integers(0, 2**31))
def test_a_sweep_in_parts_is_the_sweep(data, seed):
    key = jax.random.key(seed)
    params, batches = mlp_params(key, inputs=TALL), clusters(key, inputs=TALL)
    start = SEARCH.init(key, params)
    stage = stage_of(SEARCH, key, start, "first/kernel", batches)
    whole, _ = run_stage(SEARCH, key, start, stage, batches)
    state, prepared = start, SEARCH.prepare(key, start, stage, batches)
    boundaries = data.draw(st.lists(st.sampled_from(stage.boundaries.tolist()), max_size=4))
    for begin, end in itertools.pairwise([0, *sorted(boundaries), stage.visits]):
        state, info = SEARCH.advance(key, state, stage, prepared, begin, end)
        assert info.image_evaluations == (end - begin) * 3 * 40
    chex.assert_trees_all_equal(state.params, whole.params)


def test_cut_anywhere_else_a_sweep_is_the_same_up_to_rounding():
    params, batches = mlp_params(KEY, inputs=TALL), clusters(KEY, inputs=TALL)
    start = SEARCH.init(KEY, params)
    stage = stage_of(SEARCH, KEY, start, "first/kernel", batches)
    whole, _ = run_stage(SEARCH, KEY, start, stage, batches)
    state, prepared = start, SEARCH.prepare(KEY, start, stage, batches)
    for begin, end in ((0, 7), (7, TALL + 3), (TALL + 3, 5 * TALL)):
        state, _ = SEARCH.advance(KEY, state, stage, prepared, begin, end)
    chex.assert_trees_all_close(state.params, whole.params, rtol=1e-5)


def test_cuts_divide_columns_evenly_and_often():
    params, batches = mlp_params(KEY, inputs=TALL), clusters(KEY, inputs=TALL)
    stage = stage_of(SEARCH, KEY, SEARCH.init(KEY, params), "first/kernel", batches)
    boundaries = stage.boundaries
    assert boundaries[0] == 0 and boundaries[-1] == 5 * TALL
    assert set(range(0, 5 * TALL, TALL)) < set(boundaries.tolist())
    assert 1 < np.diff(boundaries).min() <= np.diff(boundaries).max() <= 256


def test_a_carried_pre_activation_stays_exact():
    params, batches = mlp_params(KEY, inputs=TALL), clusters(KEY, inputs=TALL, minibatches=1)
    state, info = sweep(SEARCH, KEY, SEARCH.init(KEY, params), "first/kernel", batches)
    batch = jax.tree.map(lambda a: a[0], batches)
    np.testing.assert_allclose(info.loss, mlp_loss(state.params, batch), rtol=1e-5)


TALL = 260  # weights in a column: more than one segment
SEARCH = rso(mlp_loss, weight_decay=1e-3)


SEARCH_NO_DECAY = rso(mlp_loss)


@pytest.mark.parametrize(
    "way",
    [
        {"evaluation": "full"},
        {"evaluation": "cached"},
        {"candidate_axis": "vmap"},
        {"candidate_axis": "map"},
    ],
)
def test_every_way_of_evaluating_decides_the_same(way):
    params, batches = mlp_params(KEY), clusters(KEY)
    search = rso(mlp_loss, **way)
    for path in ("first/kernel", "last/bias"):
        state, info = sweep(search, KEY, search.init(KEY, params), path, batches)
        reference, told = sweep(
            SEARCH_NO_DECAY, KEY, SEARCH_NO_DECAY.init(KEY, params), path, batches
        )
        chex.assert_trees_all_close(state.params, reference.params, rtol=1e-5)
        assert info.image_evaluations == told.image_evaluations


def test_the_recorded_loss_is_the_loss_of_the_weights_kept():
    params = mlp_params(KEY)
    batches = clusters(KEY, minibatches=1)
    batch = jax.tree.map(lambda a: a[0], batches)
    state, info = sweep(
        SEARCH_NO_DECAY, KEY, SEARCH_NO_DECAY.init(KEY, params), "last/kernel", batches
    )
    np.testing.assert_allclose(info.loss, mlp_loss(state.params, batch), rtol=1e-6)
    # One mini-batch for every visit: the loss never rises.
    in_order = np.asarray(info.losses).T.ravel()
    assert np.all(np.diff(in_order) <= 1e-6)


def test_weights_change_exactly_where_a_candidate_was_kept():
    params, batches = mlp_params(KEY), clusters(KEY)
    state, info = sweep(
        SEARCH_NO_DECAY, KEY, SEARCH_NO_DECAY.init(KEY, params), "first/kernel", batches
    )
    moved = np.asarray(state.params["first"]["kernel"] != params["first"]["kernel"])
    np.testing.assert_array_equal(moved, np.asarray(info.choices) != 0)
    chex.assert_trees_all_equal(state.params["last"], params["last"])


def test_a_tie_keeps_the_incumbent_shrunken_by_the_decay():
    search = rso(lambda p, b: 0.0 * jnp.sum(p["w"]) + jnp.mean(b), weight_decay=0.5)
    params = {"w": jnp.arange(1.0, 5.0)}
    state, info = step(search, KEY, search.init(KEY, params), jnp.ones((1, 2)))
    np.testing.assert_array_equal(state.params["w"], params["w"] / 2)
    assert int(info.accepted) == 0


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_a_loss_that_is_not_finite_is_never_accepted(bad):
    def loss(params, batch):
        w = params["w"]
        return jnp.where(w[0] > 1.0, bad, -w[0]) + 0.0 * batch.mean()

    search = rso(loss, sigma={"w": jnp.asarray(5.0)})
    state = search.init(KEY, {"w": jnp.asarray([0.9])})
    for cycle in range(20):
        state, info = step(search, jax.random.fold_in(KEY, cycle), state, jnp.ones((1, 1)))
        assert float(state.params["w"][0]) <= 1.0
        assert np.isfinite(info.loss)


def test_a_finite_candidate_replaces_an_incumbent_whose_loss_is_not():
    def loss(params, batch):
        return jnp.log(params["w"][0]) + batch.mean()

    search = rso(loss, sigma={"w": jnp.asarray(5.0)})
    state, _ = step(search, KEY, search.init(KEY, {"w": jnp.asarray([-0.1])}), jnp.ones((1, 1)))
    assert float(state.params["w"][0]) > 0


def test_a_loss_is_traced_once():
    params, batches = mlp_params(KEY)["last"], clusters(KEY, inputs=5)
    # Not again for another leaf, key, cycle, stack of mini-batches or part of a sweep.
    loss = chex.assert_max_traces(layer_loss, n=1)
    search = rso(loss, candidate_axis="vmap", schedule=optax.linear_schedule(1.0, 0.1, 4))
    state = search.init(KEY, params)
    for cycle in range(4):
        key, batches = jax.random.key(cycle), clusters(jax.random.key(cycle), inputs=5)
        state, _ = step(search, key, state, batches)
        stage = stage_of(search, key, state, "kernel", batches)
        prepared = search.prepare(key, state, stage, batches)
        search.advance(key, state, stage, prepared, cycle, cycle + 5)
