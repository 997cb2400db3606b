"""Which of several losses a leaf can change, as the trace tells."""

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from rso_jax import UserError
from rso_jax.incremental import count_work
from rso_jax.leaves import (
    all_losses,
    describe_leaves,
    loss_named,
    losses_of_leaves,
    split_losses,
)

X = jnp.ones((2, 3))


def found_losses(losses_fn, params, look_ahead=0, batch=X):
    leaves = describe_leaves(all_losses(losses_fn), params, batch)
    return losses_of_leaves(losses_fn, params, batch, leaves, look_ahead)


def scanned(step, h):
    """Apply a function once, inside a scan with a carry that is left alone."""
    (h, _), _ = lax.scan(lambda carry, _: ((step(carry[0]), carry[1]), None), (h, 1.0), None, 1)
    return h


WAYS = {
    "plain": lambda step, h: step(h),
    "jit": lambda step, h: jax.jit(step)(h),
    "checkpoint": lambda step, h: jax.checkpoint(step)(h),
    "scan": scanned,
    "cond": lambda step, h: lax.cond(True, step, lambda h: h, h),
    "while": lambda step, h: lax.while_loop(lambda s: s[0] < 1, lambda s: (1, step(s[1])), (0, h))[
        1
    ],
    "stopped": lambda step, h: lax.stop_gradient(step(h)),
}


@given(
    layers=st.lists(
        st.tuples(st.sampled_from(sorted(WAYS)), st.booleans(), st.integers(0, 4)),
        min_size=2,
        max_size=5,
    ),
    look_ahead=st.integers(0, 2),
    whole=st.booleans(),
)
def test_random_networks_of_layers_with_losses(layers, look_ahead, whole):
    """A chain of layers, some with a head, some reading an earlier one besides that before."""
    layers = [*layers[:-1], (layers[-1][0], True, layers[-1][2])]
    numbers = range(len(layers))
    params = {f"layer{i}": jnp.ones((3, 3)) for i in numbers}
    params |= {f"head{i}": jnp.ones(3) for i in numbers if layers[i][1]}

    def losses_fn(params, batch):
        outputs, losses = [batch], {}
        for i, (way, has_head, earlier) in enumerate(layers):
            h = outputs[-1] + outputs[min(earlier, i)]
            outputs.append(WAYS[way](lambda h, w=params[f"layer{i}"]: jnp.tanh(h @ w), h))
            if has_head:
                losses[f"loss{-i}"] = jnp.sum(outputs[-1] @ params[f"head{i}"])
        return losses

    heads = [i for i in numbers if layers[i][1]]
    expected = {f"layer{i}": [k for k in heads if k >= i] for i in numbers}
    expected |= {f"head{i}": [i] for i in heads}

    def jitted(params, batch):
        values = jax.jit(all_losses(losses_fn))(params, batch)
        return dict(zip([f"loss{-k}" for k in heads], values, strict=True))

    found = found_losses(jitted if whole else losses_fn, params, look_ahead)
    assert found == {
        path: f"loss{-of[min(look_ahead, len(of) - 1)]}" for path, of in expected.items()
    }


def test_results_of_one_loop_are_told_apart():
    """Two recurrent layers that one scan runs, and a loss of each."""

    def losses_fn(params, batch):
        def turn(carry, x):
            first, second = carry
            first = jnp.tanh(first @ params["first"] + x)
            second = jnp.tanh(second @ params["second"] + first)
            return (first, second), jnp.sum(second)

        start = jnp.zeros(3), jnp.zeros(3)
        (first, _), seconds = lax.scan(turn, start, batch)
        return jnp.sum(first), jnp.sum(seconds)

    params = {"first": jnp.ones((3, 3)), "second": jnp.ones((3, 3))}
    assert found_losses(losses_fn, params) == {"first": "0", "second": "1"}
    whole = count_work(all_losses(losses_fn), params, X)
    assert count_work(loss_named(losses_fn, "0"), params, X).products < 0.6 * whole.products


def test_what_decides_a_branch_or_a_loop_counts_and_what_is_printed_does_not():
    def losses_fn(params, batch):
        jax.debug.print("{}", params["printed"])
        branch = lax.cond(params["branch"][0] > 0, lambda x: x, lambda x: -x, jnp.sum(batch))
        turns = lax.while_loop(lambda s: s < params["turns"][0], lambda s: s + 1, 0.0)
        return branch, turns, jnp.sum(params["printed"])

    params = {name: jnp.ones(1) for name in ("branch", "printed", "turns")}
    assert found_losses(losses_fn, params) == {"branch": "0", "printed": "2", "turns": "1"}


def test_losses_by_name():
    one, two = jnp.zeros(()), jnp.ones(4)
    assert split_losses(one) == {"": one}
    assert list(split_losses((one, two))) == list(split_losses([one, two])) == ["0", "1"]
    assert list(split_losses({"z": one, "a": two})) == ["z", "a"]
    assert list(split_losses([one] * 11)) == [str(i) for i in range(11)]
    for wrong, message in (((), "no losses"), ({1: one}, "name 1"), ([one, "a"], "'1' .*'a'")):
        with pytest.raises(UserError, match=message):
            split_losses(wrong)


def test_one_loss_of_several_is_that_loss():
    params, losses_fn = {"w": jnp.arange(3.0)}, lambda p, x: {"z": x @ p["w"], "a": p["w"].sum()}
    assert loss_named(losses_fn, "a")(params, X) == 3
    assert loss_named(losses_fn, "z")(params, X).tolist() == [3, 3]
    assert loss_named(lambda p, x: p["w"].sum(), "")(params, X) == 3
