"""Frozen leaves, arrays that all examples share, a key for every visit, and auxiliary results."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain_reference import visiting_order
from searching import sweep

from rso_jax import UserError, rso, step
from rso_jax.search import joint, minibatches, proposals
from rso_jax.search.joint import Block

KEY = jax.random.key(2)
PARAMS = {"base": jax.random.normal(KEY, (5, 4)), "lora": {"a": jnp.ones((5, 1)), "b": jnp.ones(4)}}
X = jax.random.normal(KEY, (3, 6, 5))
BASE_ALONE = {"base": True, "lora": False}


def loss(params, batch):
    kernel = params["base"] + params["lora"]["a"] * params["lora"]["b"]
    return jnp.mean(jnp.tanh(batch @ kernel) ** 2)


def same_bits(one, other):
    for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def cut_up(search, state, batches, cycle_key):
    """A cycle with every sweep interrupted wherever it may be, and prepared anew."""
    for stage in search.stages(cycle_key, state, batches):
        for start, stop in itertools.pairwise(stage.boundaries.tolist()):
            prepared = search.prepare(cycle_key, state, stage, batches)
            state, _ = search.advance(cycle_key, state, stage, prepared, start, stop)
    return state


@pytest.mark.parametrize(
    "searched",
    [lambda path: "lora" in path, {"base": False, "lora": True}],
)
def test_frozen_leaves_are_passed_through(searched):
    search = rso(loss, searched=searched)
    state, info = step(search, KEY, search.init(KEY, PARAMS), X)
    assert set(info.stages) == {"lora/a", "lora/b"} and info.visits == 9
    assert {cost.path for cost in search.cost(PARAMS, X)} == {"lora/a", "lora/b"}
    assert search.trained(PARAMS) == {"base": False, "lora": {"a": True, "b": True}}
    same_bits(state.params["base"], PARAMS["base"])
    with pytest.raises(UserError, match="no leaf 'base' to search"):
        sweep(search, KEY, state, "base", X)


def test_arrays_that_all_examples_share():
    weights, batches = jnp.array([0.5, 1.0, 2.0, 4.0]), {"x": X, "scale": 1.5}
    batches["class"] = {"weights": weights}

    def shared_loss(params, batch):
        return jnp.mean(
            jnp.tanh(batch["x"] @ params["w"] * batch["scale"]) * batch["class"]["weights"]
        )

    def repeated_loss(params, batch):
        return jnp.mean(jnp.tanh(batch["x"] @ params["w"] * 1.5) * weights)

    params = {"w": PARAMS["base"]}
    for which in (lambda path: path != "x", {"x": False, "scale": True, "class": True}):
        search, reference = rso(shared_loss, shared=which), rso(repeated_loss)
        state, info = step(search, KEY, search.init(KEY, params), batches)
        expected, told = step(reference, KEY, reference.init(KEY, params), {"x": X})
        np.testing.assert_allclose(state.params["w"], expected.params["w"], rtol=1e-6)
        assert info.image_evaluations == told.image_evaluations
        costs = search.cost(params, batches), reference.cost(params, {"x": X})
        assert costs[0][0].image_evaluations == costs[1][0].image_evaluations
    with pytest.raises(UserError, match="two leading axes"):
        step(reference, KEY, expected, batches)


@pytest.mark.parametrize("settings", [{}, {"block": Block("leaf", joint.accepted())}])
def test_auxiliary_results_are_those_of_the_incumbent_on_the_first_mini_batch(settings):
    def with_aux(params, batch):
        return loss(params, batch), {
            "mean": jnp.mean(batch @ params["base"]),
            "size": batch.shape[0],
        }

    settings = settings | {"searched": BASE_ALONE}
    search, reference = rso(with_aux, has_aux=True, **settings), rso(loss, **settings)
    state, info = step(search, KEY, search.init(KEY, PARAMS), X)
    expected, told = step(reference, KEY, reference.init(KEY, PARAMS), X)
    same_bits(state.params, expected.params)
    assert told.aux is None and reference.aux is None
    np.testing.assert_allclose(info.aux["mean"], jnp.mean(X[0] @ state.params["base"]), rtol=1e-5)
    assert int(info.aux["size"]) == 6
    assert info.image_evaluations == told.image_evaluations


@pytest.mark.parametrize("block", [None, Block(2, joint.accepted())])
def test_a_loss_that_adds_up_is_told_of_one_example(block):
    def added_up(params, batch):
        return len(batch) * loss(params, batch)

    settings = {"block": block, "searched": BASE_ALONE}
    summed, plain = rso(added_up, reduction="sum", **settings), rso(added_up, **settings)
    state, info = step(summed, KEY, summed.init(KEY, PARAMS), X)
    expected, told = step(plain, KEY, plain.init(KEY, PARAMS), X)
    same_bits(state.params, expected.params)
    np.testing.assert_allclose(info.loss, told.loss / 6, rtol=1e-6)
    same_bits(info.stages["base"].losses, told.stages["base"].losses)


def noisy(params, batch, key):
    """Dropout of half of what the weights read."""
    kept = jax.random.bernoulli(key, 0.5, batch.shape)
    return jnp.mean((jnp.where(kept, batch, 0) @ params["w"] - 1) ** 2)


def plain_keyed_sweep(params, cycle_key, decay):
    """One sweep of the only leaf, one loss call per candidate."""
    proposal_key, arrange_key, visits_key = jax.random.split(jax.random.fold_in(cycle_key, 0), 3)
    arranged = minibatches.cycled.arrange(arrange_key, X)
    losses_key = jax.random.fold_in(visits_key, 2)
    w, kept = params["w"], []
    for visit, at in enumerate(visiting_order(w.shape)):
        key = jax.random.fold_in(losses_key, visit)
        incumbent = w[at] * jnp.asarray(1 - decay, w.dtype)
        steps = proposals.normal(
            jax.random.fold_in(proposal_key, visit), incumbent, jnp.float32(0.3)
        )
        tried = jnp.concatenate([incumbent[None], incumbent + steps])
        scores = [float(noisy({"w": w.at[at].set(v)}, arranged[visit % 3], key)) for v in tried]
        w = w.at[at].set(tried[int(np.argmin(scores))])
        kept.append(min(scores))
    return {"w": w}, kept


@pytest.mark.parametrize("evaluation", ["column", "full"])
def test_every_visit_has_a_key_of_its_own_the_same_for_its_candidates(evaluation):
    params = {"w": PARAMS["base"][:, :2]}
    search = rso(noisy, keyed=True, evaluation=evaluation, sigma={"w": 0.3}, weight_decay=0.01)
    start = search.init(KEY, params)
    state, info = step(search, KEY, start, X)
    expected, kept = plain_keyed_sweep(params, KEY, 0.01)
    np.testing.assert_allclose(state.params["w"], expected["w"], rtol=1e-5)
    losses = [info.stages["w"].losses[at] for at in visiting_order((5, 2))]
    np.testing.assert_allclose(losses, kept, rtol=1e-5)
    assert search.cost(params, X)[0].image_evaluations == info.image_evaluations == 3 * 10 * 6
    same_bits(cut_up(search, start, X, KEY).params, state.params)


def test_a_block_has_a_key_and_nothing_is_kept_on_one_mini_batch():
    params = {"w": PARAMS["base"]}
    for settings in ({"minibatches": minibatches.per_leaf}, {"block": Block(2, joint.accepted())}):
        found = []
        for evaluation in ("column", "full"):
            search = rso(noisy, keyed=True, evaluation=evaluation, **settings)
            start = search.init(KEY, params)
            state, info = step(search, KEY, start, X)
            found.append(state.params)
        np.testing.assert_allclose(found[0]["w"], found[1]["w"], rtol=1e-5)
        same_bits(cut_up(search, start, X, KEY).params, state.params)
        if "block" not in settings:  # the incumbent is scored anew with every key
            assert info.image_evaluations == 3 * 20 * 6


@pytest.mark.parametrize("block", [None, Block(2, joint.accepted((1.0,)))])
def test_candidates_whose_loss_is_not_finite_are_counted(block):
    called = []

    def root(params, batch):
        value = jnp.sum(jnp.sqrt(params["w"])) + jnp.mean(batch)
        jax.debug.callback(lambda v: called.append(float(v)), value)
        return value

    search = rso(root, evaluation="full", candidate_axis="map", block=block, sigma={"w": 0.5})
    _, info = step(search, KEY, search.init(KEY, {"w": jnp.full((3, 2), 0.2)}), X)
    jax.effects_barrier()
    assert 0 < int(info.not_finite) < info.candidates
    if block is None:  # what fills up a block is evaluated and not counted
        assert int(info.not_finite) == sum(not np.isfinite(v) for v in called)
    assert info.candidates == len(called) == info.image_evaluations // 6
    assert int(info.not_finite) == sum(int(s.not_finite) for s in info.stages.values())
