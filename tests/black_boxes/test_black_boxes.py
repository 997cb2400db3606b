"""Black boxes in losses: called as often as a loss is evaluated, and decided on like JAX's own."""

import functools
import logging
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from host_functions import odd, squared
from hypothesis import given, settings
from hypothesis import strategies as st

from rso_jax import UserError, rso, step
from rso_jax.baselines import evolution_method, open_es, spsa_method
from rso_jax.black_boxes import black_box
from rso_jax.search import joint, minibatches
from rso_jax.search.joint import Block
from rso_jax.slopes import probes, slopes_method

KEY = jax.random.key(4)
PARAMS = {"w": jax.random.normal(KEY, (3, 2)), "c": jnp.ones(2)}
SEARCHED = {"w": True, "c": False}
BATCHES = jax.random.normal(KEY, (2, 6, 3))
EXAMPLES = 6


def response(xp, h, c):
    return xp.tanh(h) ** 2 * c


def losses_in_jax(params, batch):
    return ((response(jnp, jnp.sin(batch @ params["w"]), params["c"]) - 0.3) ** 2).mean(-1)


def with_box(batched):
    """The same losses for each example from a host function, the box, and the sizes of calls."""
    sizes = []

    def simulate(h, c):
        sizes.append(h.shape[:-2])
        return response(np, h, c[:, None] if batched else c)

    box = black_box(simulate, batched=batched, result=lambda h, c: h.shape)

    def losses(params, batch):
        found = box(jnp.sin(batch @ params["w"]), params["c"])
        return ((found - 0.3) ** 2).mean(-1)

    return losses, box, sizes


def mean_of(losses):
    return lambda params, batch: losses(params, batch).mean()


def trained(method):
    state, info = step(method, KEY, method.init(KEY, PARAMS), BATCHES)
    return jax.block_until_ready(method.params(state))["w"], info


VARIANTS = {
    "visits, in turn": {"candidate_axis": "map"},
    "visits, at once": {},
    "one mini-batch": {"minibatches": minibatches.per_leaf},
    "full": {"evaluation": "full", "candidate_axis": "vmap"},
    "part of a column": {"block": Block(2, joint.accepted())},
    "whole columns, in turn": {"block": Block("leaf", joint.accepted()), "candidate_axis": "map"},
}


@functools.cache
def searched_in_jax(settings):
    return trained(rso(mean_of(losses_in_jax), searched=SEARCHED, **dict(settings)))[0]


@pytest.mark.parametrize(
    ("variant", "batched"),
    [
        ("visits, in turn", False),
        ("visits, at once", False),
        ("visits, at once", True),
        ("one mini-batch", True),
        ("full", False),
        ("part of a column", True),
        ("whole columns, in turn", True),
    ],
)
def test_a_search_decides_as_with_the_same_function_in_jax(variant, batched):
    losses, box, sizes = with_box(batched)
    found, info = trained(rso(mean_of(losses), searched=SEARCHED, **VARIANTS[variant]))
    settings = {k: v for k, v in VARIANTS[variant].items() if k != "candidate_axis"}
    expected = searched_in_jax(tuple(settings.items()))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert box.failures.candidates * EXAMPLES == info.image_evaluations
    assert box.failures.calls == len(sizes)
    if not batched:
        assert set(sizes) == {()}
    elif VARIANTS[variant].get("candidate_axis") == "map":
        assert set(sizes) == {(1,)}
    else:
        assert max(sizes) > (1,) and len(sizes) < box.failures.candidates


METHODS = {
    "weights": lambda f: slopes_method(f, optax.sgd(0.1), probes.weights(), searched=SEARCHED),
    "nodes": lambda f: slopes_method(f, optax.sgd(0.1), probes.nodes(), searched=SEARCHED),
    "spsa": lambda f: spsa_method(mean_of(f), optax.sgd(0.1), eps=0.01, pairs=2),
    "evolution": lambda f: evolution_method(
        mean_of(f), open_es(population=6, sigma=0.1, learning_rate=0.1, steps=4)
    ),
}


@functools.cache
def descended_in_jax(method):
    return trained(METHODS[method](losses_in_jax))[0]


@pytest.mark.parametrize(
    ("method", "batched"),
    [("weights", True), ("nodes", False), ("nodes", True), ("spsa", True), ("evolution", False)],
)
def test_other_methods_step_as_with_the_same_function_in_jax(method, batched):
    losses, box, _ = with_box(batched)
    found, info = trained(METHODS[method](losses))
    np.testing.assert_allclose(found, descended_in_jax(method), rtol=1e-3, atol=1e-5)
    assert box.failures.candidates * EXAMPLES == info.image_evaluations
    assert (box.failures.calls < box.failures.candidates) == batched


@settings(max_examples=10)
@given(
    inner=st.tuples(st.booleans(), st.booleans()).filter(any),
    outer=st.tuples(st.booleans(), st.booleans()).filter(any),
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    batched=st.booleans(),
)
def test_candidates_of_several_vmaps_come_in_one_batch(inner, outer, sizes, batched):
    def simulate(x, y):
        return (x * y["a"][..., None]).sum(-1) if batched else (x * y["a"]).sum()

    box = black_box(simulate, batched=batched)
    rng = np.random.default_rng(0)
    axes = [
        [n for n, on in zip(sizes[::-1], pair, strict=True) if on]
        for pair in ((outer[0], inner[0]), (outer[1], inner[1]))
    ]
    x, a = rng.normal(size=(*axes[0], 4)), rng.normal(size=axes[1])

    def along(pair):
        return tuple(0 if on else None for on in pair)

    def both(f):
        return jax.vmap(jax.vmap(f, along(inner)), along(outer))

    found = both(lambda x, a: box(x, {"a": a}))(x, a)
    np.testing.assert_allclose(found, both(lambda x, a: (x * a).sum())(x, a), rtol=1e-5, atol=1e-6)
    assert box.failures[:2] == ((1 if batched else sizes[0] * sizes[1]), sizes[0] * sizes[1])


def test_a_key_arrives_as_what_seeds_numpy():
    box = black_box(lambda key: np.random.default_rng(key).normal())
    keys = jax.random.split(KEY, 3)
    found = jax.vmap(box)(keys)
    expected = [np.random.default_rng(np.asarray(jax.random.key_data(k))).normal() for k in keys]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def failing(x):
    """Squares: of negative numbers none, of large ones infinite."""
    x[...] = x  # it may write into what it is given
    if np.any(x < 0):
        raise ValueError(f"{x.min():.0f} is negative\nand more")
    return np.where(x > 9, np.inf, x**2)


@pytest.mark.parametrize("batched", [False, True])
def test_a_crash_costs_the_candidate_that_it_is_of(batched, caplog):
    box = black_box(failing, batched=batched)
    given = jnp.array([1.0, -2, 3, 10, 5, -6, 7])
    with caplog.at_level(logging.WARNING):
        found = jax.vmap(box)(given)
    np.testing.assert_array_equal(found, [1, np.nan, 9, np.inf, 25, np.nan, 49])
    told = box.failures
    assert (told.candidates, told.crashes, told.timeouts, told.not_finite) == (7, 2, 0, 1)
    assert told.first_error == "ValueError: -2 is negative"
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("failing failed") and "ValueError: -2 is negative" in line


def test_a_candidate_that_fails_is_not_taken():
    """The best is beyond what the simulator can do: the search stops before."""

    def simulate(w):
        if w.sum() > 4:
            raise RuntimeError("too much")
        return -w.sum()

    box = black_box(simulate, give_up_after=1000)
    search = rso(lambda w, batch: box(w), sigma=1.0)
    state = search.init(KEY, jnp.zeros(3))
    for cycle in range(6):
        state, info = step(search, jax.random.fold_in(KEY, cycle), state, jnp.zeros((1, 1)))
    assert 2 < state.params.sum() <= 4
    assert 0 < info.not_finite <= box.failures.crashes


@pytest.mark.parametrize("batched", [False, True])
def test_one_that_always_fails_ends_the_run(batched):
    box = black_box(failing, batched=batched, give_up_after=5)
    wrong = r"UserError: failing failed for 5 candidates in a row, .*ValueError: -1 is negative"
    with pytest.raises(RuntimeError, match=wrong):
        jax.block_until_ready(jax.vmap(box)(-jnp.ones(8)))
    assert box.failures.crashes == 5
    good, bad = jnp.ones(()), -jnp.ones(())
    for number in [bad, bad, good, bad, bad, bad, bad]:  # never five in a row
        jax.block_until_ready(box(number))


@pytest.mark.parametrize(
    ("returned", "wrong"),
    [
        (np.zeros(3), r"returned an array of shape \(3,\); it must be \(\), as result= says"),
        ("far", "returned the string 'far'; return real numbers"),
        (None, "returned a NoneType; return real numbers"),
        ([[1], [1, 2]], "returned a list; return real numbers"),
        (1j, "returned a complex; return real numbers"),
    ],
)
def test_a_result_that_is_none_is_an_error_of_the_simulator(returned, wrong):
    def simulate(x):
        return returned

    with pytest.raises(RuntimeError, match=f"UserError: simulate {wrong}"):
        jax.block_until_ready(black_box(simulate)(1.0))


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ({"simulate": 3}, "simulate is an int; pass a function"),
        ({"result": -1}, "result of squared is -1; pass the shape"),
        ({"result": (2, -1)}, r"result of squared is \(2, -1\)"),
        ({"dtype": int}, "dtype is int64; a result must be floating-point"),
        ({"dtype": "float64"}, "dtype is float64, which JAX holds only with jax_enable_x64"),
        ({"dtype": "number"}, "dtype is the string 'number'"),
        ({"time_limit": 0}, "time_limit is 0; pass seconds above 0"),
        ({"time_limit": "1"}, "time_limit is '1'"),
        ({"give_up_after": 0}, "give_up_after is 0; it must be at least 1"),
        ({"simulate": lambda x: x, "process": True}, "simulate cannot be sent to a process"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_called(arguments, wrong):
    with pytest.raises(UserError, match=wrong):
        black_box(**{"simulate": squared} | arguments)


def test_so_are_arguments_that_are_no_arrays():
    with pytest.raises(UserError, match="argument 1 of squared is the string 'x'"):
        black_box(squared)(1.0, "x")
    with pytest.raises(UserError, match="result of squared is 'wide'"):
        black_box(squared, result=lambda x: "wide")(1.0)


def test_the_wait_for_a_call_ends_at_the_limit():
    def simulate(x):
        if x == 1:
            time.sleep(0.25)
        if x == 2:
            raise ValueError("two")
        return x

    box = black_box(simulate, time_limit=0.1)
    found = [float(box(jnp.float32(x))) for x in (0, 1, 2, 3)]
    np.testing.assert_array_equal(found, [0, np.nan, np.nan, 3])
    told = box.failures
    assert (told.candidates, told.timeouts, told.crashes) == (4, 1, 1)
    assert told.first_error == "no answer within 0.1 s"


def test_a_process_that_hangs_or_ends_is_replaced():
    box = black_box(odd, time_limit=0.2, process=True)
    found = [float(box(jnp.float32(x))) for x in (0, 2, 0, 1, 0, 3)]
    # It counts its calls: anew after it was killed.
    np.testing.assert_array_equal(found, [1, np.nan, 3, np.nan, 1, np.nan])
    told = box.failures
    assert (told.candidates, told.timeouts, told.crashes) == (6, 1, 2)
    assert told.first_error == "ValueError: two is too much"
