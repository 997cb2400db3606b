"""Descent along slopes, as a method and by hand."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rso_jax import UserError, step
from rso_jax.slopes import slopes_method, spectral, steps, value_and_slopes
from rso_jax.tasks import Task
from rso_jax.training import StopRequest, train

KEY = jax.random.key(2)
RNG = np.random.default_rng(1)
X = jnp.asarray(RNG.standard_normal((5, 24, 5)), jnp.float32)
PARAMS = {
    "first": {"kernel": jnp.asarray(RNG.standard_normal((5, 3)), jnp.float32)},
    "last": {
        "bias": jnp.array([0.5, -0.7]),
        "count": jnp.arange(2),
        "kernel": jnp.asarray(RNG.standard_normal((3, 2)), jnp.float32),
    },
}
IN_TURN = ("last/kernel", "last/bias", "first/kernel")
OPTIMIZERS = {
    **{name: make(optax.linear_schedule(0.05, 0.01, 5)) for name, make in steps.STEPS.items()},
    "lion": optax.lion(0.02),
    "clipped": optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.1)),
    "schedule-free": optax.contrib.schedule_free_sgd(0.05),
    "prodigy": optax.contrib.prodigy(1.0),
}


def losses(params, batch):
    last = params["last"]
    hidden = jnp.tanh(batch @ params["first"]["kernel"])
    return jnp.sum((hidden @ last["kernel"] + last["bias"] - batch[:, :2]) ** 2, axis=1)


ESTIMATE = jax.jit(value_and_slopes(losses))
ESTIMATES = {path: jax.jit(value_and_slopes(losses, searched=path.__eq__)) for path in IN_TURN}


def mean_loss(params):
    return float(losses(params, X.reshape(-1, 5)).mean())


def trained(params):
    """What an optimiser is given: no integers."""
    return params | {"last": params["last"] | {"count": None}}


def only(params, path):
    """One leaf, None in place of the others."""
    return jax.tree_util.tree_map_with_path(
        lambda p, a: a if jax.tree_util.keystr(p, simple=True, separator="/") == path else None,
        params,
    )


def put(params, weights):
    return jax.tree.map(
        lambda new, old: old if new is None else new, weights, params, is_leaf=lambda a: a is None
    )


def descend_by_hand(optimizer, params, batches):
    """Parameters after every step of all leaves, on one mini-batch after the other."""
    state = optimizer.init(trained(params))
    for i, batch in enumerate(batches):
        _, slopes, _ = ESTIMATE(jax.random.fold_in(KEY, i), params, batch)
        updates, state = optimizer.update(trained(slopes), state, trained(params))
        params = put(params, optax.apply_updates(trained(params), updates))
        yield params


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_cycle_is_a_step_of_optax_on_each_mini_batch(name):
    method = slopes_method(losses, OPTIMIZERS[name], donate=True)
    state, info = step(method, KEY, method.init(KEY, PARAMS), X)
    *_, expected = descend_by_hand(OPTIMIZERS[name], PARAMS, X)
    chex.assert_trees_all_close(method.params(state), expected, rtol=2e-4, atol=1e-6)
    assert info.visits == info.accepted == 5 and info.weight_updates == 5 * 23
    evaluations = 1 + sum(cost.evaluations for cost in method.cost(PARAMS, X))
    assert info.candidates == 5 * evaluations
    assert info.image_evaluations == 5 * evaluations * 24


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_leaves_in_turn_are_a_plain_loop_that_goes_on_in_the_next_cycle(name):
    optimizer = OPTIMIZERS[name]
    method = slopes_method(losses, optimizer, leaves="in_turn", donate=True)
    costs = {cost.path: cost.evaluations for cost in method.cost(PARAMS, X)}
    params = PARAMS
    states = {path: optimizer.init(only(params, path)) for path in IN_TURN}
    state, turns = method.init(KEY, PARAMS), itertools.cycle(IN_TURN)
    for cycle in range(2):
        key, visited, images = jax.random.fold_in(KEY, cycle), [], 0
        state, info = step(method, key, state, X)
        for i, batch in enumerate(X):
            visited.append(path := next(turns))
            _, slopes, cost = ESTIMATES[path](jax.random.fold_in(key, i), params, batch)
            images += int(cost.image_evaluations)
            weights = only(params, path)
            updates, states[path] = optimizer.update(only(slopes, path), states[path], weights)
            params = put(params, optax.apply_updates(weights, updates))
        chex.assert_trees_all_close(method.params(state), params, rtol=2e-4, atol=1e-6)
        sizes = [jax.tree.leaves(only(params, path))[0].size for path in visited]
        assert info.weight_updates == sum(sizes)
        assert info.candidates == sum(1 + costs[path] for path in visited)
        assert info.image_evaluations == images == 24 * info.candidates


def test_a_leaf_that_is_not_searched_has_no_turn():
    method = slopes_method(
        losses, optax.sgd(0.1), leaves="in_turn", searched=lambda path: path != "last/bias"
    )
    state, info = step(method, KEY, method.init(KEY, PARAMS), X)
    np.testing.assert_array_equal(state.params["last"]["bias"], PARAMS["last"]["bias"])
    assert info.weight_updates == 3 * 6 + 2 * 15


def test_what_is_scored_is_the_mean_of_the_weights():
    optimizer, mean = OPTIMIZERS["sgd"], optax.ema(0.8)
    averaging = slopes_method(losses, optimizer, average=0.8)
    state = averaging.init(KEY, PARAMS)
    chex.assert_trees_all_equal(averaging.params(state), PARAMS)
    state, _ = step(averaging, KEY, state, X)
    memory = mean.init(trained(PARAMS))
    for params in descend_by_hand(optimizer, PARAMS, X):
        expected, memory = mean.update(trained(params), memory)
    chex.assert_trees_all_close(state.params, params, rtol=1e-4)
    chex.assert_trees_all_close(averaging.params(state), put(params, expected), rtol=1e-4)


def test_in_turn_each_leaf_has_a_mean_of_its_own_steps():
    method = slopes_method(losses, OPTIMIZERS["sgd"], leaves="in_turn", average=0.8)
    state = method.init(KEY, PARAMS)
    (stage,) = method.stages(KEY, state, X)
    means = {path: (optax.ema(0.8), optax.ema(0.8).init(only(PARAMS, path))) for path in IN_TURN}
    expected = PARAMS
    for i, path in enumerate([*IN_TURN, *IN_TURN[:2]]):
        state, _ = method.advance(KEY, state, stage, X, i, i + 1)
        mean, memory = means[path]
        found, memory = mean.update(only(state.params, path), memory)
        means[path], expected = (mean, memory), put(expected, found)
        chex.assert_trees_all_close(method.params(state), expected, rtol=1e-5)


def test_means_of_narrow_weights_are_wide():
    narrow = jax.tree.map(lambda a: a.astype(jnp.bfloat16), PARAMS["first"])
    method = slopes_method(
        lambda params, batch: jnp.sum((batch @ params["kernel"]) ** 2, axis=1),
        optax.sgd(1e-3),
        average=0.99,
    )
    state, _ = step(method, KEY, method.init(KEY, narrow), X.astype(jnp.bfloat16))
    assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(state.average.ema))
    chex.assert_trees_all_equal_dtypes(method.params(state), narrow)


class StopAtLook(StopRequest):
    """Asks to stop when it is looked at for the n-th time."""

    def __init__(self, looks):
        super().__init__(None)
        self.looks = looks

    def reason(self):
        self.looks -= 1
        return "stopped by the test" if self.looks < 0 else None


@pytest.mark.parametrize("leaves", ["together", "in_turn"])
def test_a_run_that_was_interrupted_ends_alike(leaves, tmp_path):
    task = Task(
        init=lambda key: PARAMS,
        batches=lambda rng, cycle: np.asarray(X)[rng.permutation(5)],
        batch_size=lambda cycle: 24,
        score=lambda params, kept: {"loss": mean_loss(params)},
    )
    method = slopes_method(losses, OPTIMIZERS["muon"], leaves=leaves, average=0.7, donate=True)
    whole = train(method, task, cycles=3)
    options = {"cycles": 3, "folder": tmp_path / "run"}
    stopped = train(method, task, stop=StopAtLook(1), **options)
    assert stopped.stopped == "stopped by the test" and stopped.progress.visit > 0
    found = train(method, task, resume=True, **options)
    chex.assert_trees_all_equal(found.params, whole.params)
    assert found.metrics[-1]["loss"] == whole.metrics[-1]["loss"] < mean_loss(PARAMS)
    assert found.progress.image_evaluations == whole.progress.image_evaluations


def test_muon_steps_kernels_as_matrices():
    kernel, bias = jnp.asarray(RNG.standard_normal((3, 3, 2, 5)), jnp.float32), jnp.ones(5)
    params = {"bias": bias, "kernel": kernel, "scale": jnp.ones((1, 1, 5))}
    optimizer = steps.muon(lambda count: 0.5 / (1 + count), momentum=0.0)
    updates, state = optimizer.update(params, optimizer.init(params), params)
    values = jnp.linalg.svd(updates["kernel"].reshape(18, 5), compute_uv=False)
    np.testing.assert_allclose(values, 0.5, rtol=0.4)  # as near as Newton-Schulz gets
    assert float(jnp.sum(updates["kernel"] * kernel)) < 0
    for name in ("bias", "scale"):
        np.testing.assert_allclose(updates[name], -0.05 * jnp.ones_like(params[name]), rtol=1e-3)
    again, _ = optimizer.update(params, state, params)
    np.testing.assert_allclose(again["kernel"], updates["kernel"] / 2, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", steps.STEPS)
def test_weights_of_kernels_decay_apart_from_the_slopes(name):
    params = {"bias": jnp.ones(3), "kernel": jnp.ones((4, 3))}
    optimizer = steps.STEPS[name](0.1, 0.9, 0.01)
    still = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(still, optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.1 * 0.01, rtol=1e-5)
    np.testing.assert_array_equal(updates["bias"], 0.0)


def test_the_spectral_preset_learns():
    method = spectral(lambda params, batch: losses(params, batch).mean(), steps=30)
    state = method.init(KEY, PARAMS)
    for cycle in range(18):
        state, _ = step(method, jax.random.fold_in(KEY, cycle), state, X)
    assert mean_loss(state.params) < 0.4 * mean_loss(PARAMS)
    assert {cost.moves for cost in method.cost(PARAMS, X)} == {"weights"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"leaves": "both"}, "leaves .*both"),
        ({"average": 1.0}, "average is 1.0; it must be above 0 and below 1"),
        ({"average": "long"}, "average is 'long'"),
        ({"optimizer": 0.1}, "optimizer is a float"),
    ],
)
def test_settings_that_cannot_work(wrong, said):
    with pytest.raises(UserError, match=said):
        slopes_method(**{"losses_fn": losses, "optimizer": optax.sgd(0.1)} | wrong)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"scale": 0.0}, {"eps": -1.0}, {"momentum": 1.0}])
def test_spectral_descent_that_cannot_be_made(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        spectral(**{"losses_fn": losses, "steps": 10} | wrong)


@pytest.mark.parametrize("make", steps.STEPS.values())
@pytest.mark.parametrize("wrong", [(0.0,), (0.1, 1.0), (0.1, 0.9, -0.1), (float("nan"),)])
def test_steps_that_cannot_be_made(make, wrong):
    with pytest.raises(UserError, match="it must be"):
        make(*wrong)
