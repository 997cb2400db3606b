"""Which leaf comes after which, and which weight after which."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_reference import visiting_order as plain_visiting_order
from problems import clusters, mlp_loss, mlp_params

from rso_jax import UserError, rso, step
from rso_jax.networks import create, loss_of
from rso_jax.search import order

KEY = jax.random.key(0)


def paths(search, params, batches, key=KEY):
    return [stage.name for stage in search.stages(key, search.init(KEY, params), batches)]


@settings(max_examples=40)
@given(st.lists(st.integers(1, 4), max_size=4))
def test_weights_are_visited_output_by_output_each_once(shape):
    shape = tuple(shape)
    got = order.visiting_order(shape).tolist()
    expected = [int(np.ravel_multi_index(at, shape)) for at in plain_visiting_order(shape)]
    assert got == expected
    assert sorted(got) == list(range(int(np.prod(shape))))


def test_the_paper_network_is_swept_from_the_last_layer_to_the_first():
    network = create("paper-mnist", (28, 28, 1), 10)
    images = jnp.zeros((4, 28, 28, 1))
    batches = {"image": images[None], "label": jnp.zeros((1, 4), jnp.int32)}
    found = paths(rso(loss_of(network)), network.init(KEY, images), batches)
    layers = [f"conv{i}/{name}" for i in range(6, 0, -1) for name in ("kernel", "bias", "scale")]
    assert found == ["dense/kernel", *layers]


def test_first_to_last_reverses_the_layers_not_their_arrays():
    params, batches = mlp_params(KEY), clusters(KEY)
    arrays = ["kernel", "bias", "scale"]
    last = paths(rso(mlp_loss), params, batches)
    first = paths(rso(mlp_loss, order=order.first_to_last), params, batches)
    assert last == [f"{layer}/{a}" for layer in ("last", "first") for a in arrays]
    assert first == [f"{layer}/{a}" for layer in ("first", "last") for a in arrays]


def test_random_order_is_a_permutation_that_follows_from_the_key():
    params, batches = mlp_params(KEY), clusters(KEY)
    search = rso(mlp_loss, order=order.random_order)
    orders = [tuple(paths(search, params, batches, jax.random.key(i))) for i in range(6)]
    assert len(set(orders)) > 1
    assert {frozenset(o) for o in orders} == {frozenset(orders[0])}
    assert paths(search, params, batches, jax.random.key(2)) == list(orders[2])


def test_layers_follow_the_loss_not_their_names():
    def loss(params, batch):
        h = jnp.tanh(batch @ params["z_first"]["w"])
        return jnp.mean(h @ params["a_last"]["w"])

    params = {"a_last": {"w": jnp.ones((3, 1))}, "z_first": {"w": jnp.ones((2, 3))}}
    assert paths(rso(loss), params, jnp.ones((1, 4, 2))) == ["a_last/w", "z_first/w"]


@pytest.mark.parametrize("wrapped", [jax.jit, jax.checkpoint, lambda f: f])
def test_casting_all_weights_first_or_wrapping_the_loss_changes_nothing(wrapped):
    def loss(params, batch):
        w = jax.tree.map(lambda a: a.astype(jnp.bfloat16), params)
        return jnp.mean(jnp.tanh(batch @ w[1]) @ w[0])

    params = [jnp.ones((3, 1)), jnp.ones((2, 3))]
    batches = jnp.ones((1, 4, 2), jnp.bfloat16)
    assert paths(rso(wrapped(loss)), params, batches) == ["0", "1"]


def test_integer_leaves_are_passed_through():
    params = {"w": jnp.ones((2, 3)), "steps": jnp.arange(3)}
    search = rso(lambda p, b: jnp.mean(b @ p["w"] + p["steps"]))
    batches = jnp.ones((1, 4, 2))
    assert paths(search, params, batches) == ["w"]
    state, _ = step(search, KEY, search.init(KEY, params), batches)
    np.testing.assert_array_equal(state.params["steps"], params["steps"])


def test_nothing_to_search_is_said_so():
    with pytest.raises(UserError, match="nothing to search"):
        rso(lambda p, b: 0.0).init(KEY, {"steps": jnp.arange(3)})
