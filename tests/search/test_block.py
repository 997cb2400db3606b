"""Blocks of weights decided at once, against the same written the long way and single ones."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain_block import blocks
from plain_block import sweep as plain_sweep
from plain_reference import visiting_order
from problems import clusters, conv_loss, layer_loss, mlp_loss, mlp_params
from searching import position_of, stage_of, sweep

from rso_jax import UserError, rso, step
from rso_jax.method import run_stage
from rso_jax.search import joint, minibatches, proposals
from rso_jax.search.joint import Block

KEY = jax.random.key(3)
STEPS = {
    "accepted": joint.accepted(),
    "parabola": joint.parabola(),
}


def sigma_of(value):
    return lambda params: jax.tree.map(lambda a: jnp.asarray(value, a.dtype), params)


@pytest.mark.parametrize(
    ("path", "batch_piece"),
    [("first/kernel", "cycled"), ("last/bias", "fresh"), ("last/kernel", "per_column")],
)
def test_a_block_of_one_weight_is_sequential_search(path, batch_piece):
    with jax.enable_x64(True):
        params = mlp_params(KEY, dtype=jnp.float64)
        batches = clusters(KEY, dtype=jnp.float64)
        settings = {"minibatches": getattr(minibatches, batch_piece), "weight_decay": 1e-3}
        sequential = rso(mlp_loss, **settings)
        blocked = rso(mlp_loss, block=Block(1, joint.accepted((1.0,))), **settings)
        state = sequential.init(KEY, params)
        expected, one = sweep(sequential, KEY, state, path, batches)
        found, other = sweep(blocked, KEY, state, path, batches)
    chex.assert_trees_all_close(found.params, expected.params, rtol=1e-12)
    # Where rounding breaks the tie between the better probe and the joint step that repeats it.
    repeated = np.where(other.choices == -1, one.choices, other.choices)
    np.testing.assert_array_equal(repeated, one.choices)
    np.testing.assert_allclose(other.losses, one.losses, rtol=1e-12)
    assert other.decisions == one.decisions == one.visits


@pytest.mark.parametrize(
    ("path", "size", "step"),
    [
        ("first/kernel", 4, "accepted"),  # even parts of a column
        ("last/kernel", 5, "parabola"),  # a column
        ("first/kernel", 18, "accepted"),  # whole columns, the last block short of one
        ("first/kernel", 99, "parabola"),  # the leaf
        ("first/scale", 2, "accepted"),
    ],
)
def test_a_sweep_decides_as_the_plain_algorithm(path, size, step):
    with jax.enable_x64(True):
        params = mlp_params(KEY, dtype=jnp.float64)
        batches = clusters(KEY, minibatches=1, dtype=jnp.float64)
        search = rso(mlp_loss, sigma=sigma_of(0.3), block=Block(size, STEPS[step]))
        state = search.init(KEY, params)
        state, info = sweep(search, KEY, state, path, batches)
        expected, kept = plain_sweep(
            mlp_loss, params, path, position_of(params, path), KEY, batches,
            sigma=0.3, proposal=proposals.normal, size=size, step=STEPS[step],
        )  # fmt: skip
    chex.assert_trees_all_close(state.params, expected, rtol=1e-9)
    planned = blocks(info.choices.shape, size)
    assert info.decisions == len(planned) == len(kept)
    for places, loss in zip(planned, kept, strict=True):
        np.testing.assert_allclose([info.losses[at] for at in places], loss, rtol=1e-9)
    assert np.diff(kept).max(initial=0) <= 0  # never worse on its mini-batch


@pytest.mark.parametrize("size", [3, 50])
def test_column_programs_decide_as_full_forwards(size):
    key = jax.random.key(5)
    with jax.enable_x64(True):
        params = {
            "conv": {"kernel": jax.random.normal(key, (3, 3, 2, 4), jnp.float64)},
            "dense": {"kernel": jax.random.normal(key, (4, 1), jnp.float64)},
        }
        batches = {
            "x": jax.random.normal(key, (2, 6, 5, 5, 2), jnp.float64),
            "y": jax.random.normal(key, (2, 6), jnp.float64),
        }
        found = []
        for evaluation in ("column", "full"):
            search = rso(conv_loss, block=Block(size, joint.parabola()), evaluation=evaluation)
            found.append(sweep(search, KEY, search.init(KEY, params), "conv/kernel", batches))
    (one, info), (other, expected) = found
    chex.assert_trees_all_close(one.params, other.params, rtol=1e-8)
    np.testing.assert_array_equal(info.choices, expected.choices)


@pytest.mark.parametrize("size", ["column", "leaf"])
def test_one_draw_for_a_whole_column_or_leaf(size):
    params, batches = mlp_params(KEY), clusters(KEY, minibatches=1)
    search = rso(mlp_loss, block=Block(size, joint.together, probe=False))
    state = search.init(KEY, params)
    before = params["first"]["kernel"]
    stage = stage_of(search, KEY, state, "first/kernel", batches)
    prepared = search.prepare(KEY, state, stage, batches)
    state, info = run_stage(search, KEY, state, stage, batches)
    columns = before.shape[-1]
    assert info.decisions == (columns if size == "column" else 1)
    assert info.image_evaluations == 3 * 40 * info.decisions
    tried = np.asarray(prepared.candidates)[:, :, None]
    order = visiting_order(before.shape)
    for o in range(columns):
        rows = [i for i, at in enumerate(order) if at[-1] == o]
        (code,) = {int(info.choices[order[i]]) for i in rows}  # all weights of a column alike
        now = [float(state.params["first"]["kernel"][order[i]]) for i in rows]
        np.testing.assert_array_equal(now, tried[rows, -code, 0])


@pytest.mark.parametrize("size", [4, 13])
def test_a_sweep_in_parts_is_the_sweep(size):
    params, batches = mlp_params(KEY), clusters(KEY)
    search = rso(mlp_loss, block=Block(size, joint.accepted()), weight_decay=1e-3)
    start = search.init(KEY, params)
    stage = stage_of(search, KEY, start, "first/kernel", batches)
    whole, _ = run_stage(search, KEY, start, stage, batches)
    state = start
    for begin, end in itertools.pairwise(stage.boundaries.tolist()):
        prepared = search.prepare(KEY, state, stage, batches)
        state, info = search.advance(KEY, state, stage, prepared, begin, end)
        assert info.decisions == 1
    chex.assert_trees_all_equal(state.params, whole.params)
    if size == 4:
        with pytest.raises(UserError, match="cut a block"):
            search.advance(KEY, state, stage, prepared, 0, 1)


def test_the_block_may_follow_the_cycle():
    params, batches = mlp_params(KEY)["last"], clusters(KEY, inputs=5)
    search = rso(
        layer_loss,
        block=lambda cycle: Block(6 * 2**cycle, joint.accepted()) if cycle else None,
        searched={"kernel": True, "scale": False, "bias": False},
    )
    state, decisions = search.init(KEY, params), []
    for _ in range(3):
        state, info = step(search, KEY, state, batches)
        decisions.append(info.stages["kernel"].decisions)
    assert decisions == [15, 2, 1]


@pytest.mark.parametrize("size", [0, -3, 2.5, "row", True])
def test_sizes_that_are_none(size):
    with pytest.raises(UserError, match="a block of size"):
        rso(mlp_loss, block=Block(size, joint.accepted()))


def test_a_loss_that_is_not_finite_is_never_accepted():
    def loss(w, batch):
        return jnp.where(jnp.any(w > 0), jnp.nan, jnp.sum((w + 3) ** 2) * batch.mean())

    for joint_step in STEPS.values():
        search = rso(loss, block=Block(4, joint_step), sigma=jnp.asarray(0.5))
        state = search.init(KEY, jnp.full((4, 2), -0.1))
        state, info = step(search, KEY, state, jnp.ones((1, 1)))
        assert np.isfinite(info.loss) and (np.asarray(state.params) <= 0).all()


def test_the_parabola_finds_the_minimum_of_a_separable_one():
    lowest = jnp.linspace(-0.5, 0.4, 6).reshape(2, 3)
    tried = jnp.stack([jnp.zeros((2, 3)), jnp.full((2, 3), 0.7), jnp.full((2, 3), -0.7)], axis=-1)
    losses = 3 * (tried - lowest[..., None]) ** 2
    (found,) = joint.parabola((1.0,))(tried, losses - losses[..., :1])
    np.testing.assert_allclose(found, lowest, atol=1e-5)
    # Downwards, as far as the limit allows.
    losses = jnp.broadcast_to(jnp.array([0.0, -2.0, -1.0]), (2, 3, 3))
    (far,) = joint.parabola((1.0,), limit=2.0)(tried, losses)
    np.testing.assert_allclose(far, 1.4, rtol=1e-5)


def test_accepted_adds_up_what_each_weight_would_choose():
    tried = jnp.array([[[0.0, 1.0, -1.0], [5.0, 6.0, 4.0], [2.0, 3.0, 1.0]]])
    losses = jnp.array([[[1.0, 0.5, 2.0], [1.0, 1.5, 0.9], [1.0, 1.0, jnp.inf]]])
    found = joint.accepted((1.0, 0.5))(tried, losses)
    np.testing.assert_array_equal(found, [[[1.0, 4.0, 2.0]], [[0.5, 4.5, 2.0]]])
