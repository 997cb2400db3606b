"""Slopes of several losses: each leaf's are of its own, and no other is evaluated for them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gradients import gradient_of
from local_losses import OWN, example_losses, losses, make_batches, make_params, one_of

from rso_jax import UserError, step
from rso_jax.slopes import probes, slopes_method, spectral, value_and_slopes

KEY = jax.random.key(8)
PARAMS, BATCHES = make_params(KEY), make_batches(KEY)
BATCH = jax.tree.map(lambda a: a[0], BATCHES)


ALONE = [one_of(losses, place) for place in (0, 1)]


def gradients(params, batch, own):
    """By layer, the derivatives of the mean of its own loss."""
    found = [gradient_of(loss, params, batch) for loss in ALONE]
    return {layer: found[own[layer]][layer] for layer in params}


def close(found, expected, tolerance):
    found, expected = (map(np.asarray, jax.tree.leaves(tree)) for tree in (found, expected))
    for a, b in zip(found, expected, strict=True):
        assert np.linalg.norm(a - b) < tolerance * np.linalg.norm(b)


@pytest.mark.parametrize("ways", [None, probes.weights(1e-2), probes.nodes(2e-2)])
@pytest.mark.parametrize(("look_ahead", "first"), [(0, 0), (1, 1)])
def test_slopes_are_derivatives_of_the_own_loss(ways, look_ahead, first):
    estimate = value_and_slopes(example_losses, ways, look_ahead=look_ahead)
    value, slopes, _ = jax.jit(estimate)(KEY, PARAMS, BATCH)
    close(slopes, gradients(PARAMS, BATCH, OWN | {"first": first}), 0.05)
    assert list(value) == ["0", "1"]
    np.testing.assert_allclose([value["0"], value["1"]], jax.jit(losses)(PARAMS, BATCH), rtol=1e-6)


def test_scalars_tokens_and_examples_side_by_side():
    def mixed(params, batch):
        near, far = example_losses(params, batch)
        return {"near": near.mean(), "far": jnp.stack([far, far], 1)}

    names = []

    @jax.jit
    def estimate(params, batch):
        value, slopes, _ = value_and_slopes(mixed)(KEY, params, batch)
        names.extend(value)  # what a jit returns is sorted
        return slopes

    slopes = estimate(PARAMS, BATCH)
    assert names == ["near", "far"]
    close(slopes, gradients(PARAMS, BATCH, OWN), 0.05)


def test_a_bias_of_another_loss_than_its_kernel_is_probed_itself():
    def ahead(path):
        return "1" if path == "first/bias" else 0

    estimate = jax.jit(value_and_slopes(example_losses, look_ahead=ahead))
    _, slopes, _ = estimate(KEY, PARAMS, BATCH)
    expected = gradients(PARAMS, BATCH, OWN | {"first": 1})
    close(slopes["first"]["bias"], expected["first"]["bias"], 0.05)


@pytest.mark.parametrize("leaves", ["together", "in_turn"])
def test_a_step_follows_the_own_loss_and_tells_the_last(leaves):
    method = slopes_method(example_losses, optax.sgd(0.1), leaves=leaves)
    one = jax.tree.map(lambda a: a[:1], BATCHES)
    state, info = step(method, KEY, method.init(KEY, PARAMS), one)
    np.testing.assert_allclose(info.loss, losses(PARAMS, BATCH)[1], rtol=1e-6)
    expected = gradients(PARAMS, BATCH, OWN)
    moved = jax.tree.map(lambda new, old: (old - new) / 0.1, state.params, PARAMS)
    if leaves == "together":
        close(moved, expected, 0.1)
    else:  # whose turn comes first
        (path,) = [layer for layer in moved if any(map(jnp.any, jax.tree.leaves(moved[layer])))]
        close(moved[path]["kernel"], expected[path]["kernel"], 0.1)


def test_the_preset_takes_several_losses_and_looks_ahead():
    method = spectral(losses, steps=10, look_ahead=1)
    _, info = step(method, KEY, method.init(KEY, PARAMS), BATCHES)
    assert np.isfinite(info.loss) and info.visits == 3


@pytest.mark.parametrize("leaves", ["together", "in_turn"])
def test_each_leaf_pays_for_its_own_loss(leaves):
    def cost_of(losses_fn, **settings):
        method = slopes_method(losses_fn, optax.sgd(0.1), leaves=leaves, **settings)
        return {cost.path: cost for cost in method.cost(PARAMS, BATCHES)}

    costs, ahead = cost_of(example_losses), cost_of(example_losses, look_ahead=1)
    alone = cost_of(one_of(example_losses, 0), searched=lambda path: path.startswith("first"))
    for path, cost in alone.items():
        assert costs[path].candidate_flops == cost.candidate_flops
        assert costs[path].forward_flops > cost.forward_flops
    assert ahead["first/kernel"].candidate_flops > costs["first/kernel"].candidate_flops


def test_what_is_refused():
    def unseen(params, batch):
        near, _ = example_losses(params, batch)
        return near, jnp.sum(params["second_head"]["kernel"]) + near

    with pytest.raises(UserError, match="none of the losses 0, 1 depends on second/"):
        value_and_slopes(unseen)(KEY, PARAMS, BATCH)
    for make in (value_and_slopes, lambda f, **s: slopes_method(f, optax.sgd(0.1), **s)):
        with pytest.raises(UserError, match="look_ahead is -1"):
            make(losses, look_ahead=-1)
    method = slopes_method(unseen, optax.sgd(0.1))
    with pytest.raises(UserError, match="depends on second/"):
        step(method, KEY, method.init(KEY, PARAMS), BATCHES)
