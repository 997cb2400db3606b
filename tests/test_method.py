"""What a method is not made for is refused in one line, by searches and baselines alike."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rso_jax import UserError, rso, step
from rso_jax.baselines import evolution_method, gradient_method, open_es
from rso_jax.method import Stage, run_stage
from rso_jax.search.joint import Block, parabola
from rso_jax.slopes import slopes_method

KEY = jax.random.key(0)
PARAMS = {"w": jnp.ones((3, 2))}
BATCHES = jnp.ones((2, 4, 3))


def loss(params, batch):
    return jnp.mean((batch @ params["w"]) ** 2)


def losses(params, batch):
    return jnp.sum((batch @ params["w"]) ** 2, axis=1)


STRATEGY = open_es(population=4, sigma=0.1, learning_rate=0.1, steps=4)
SEARCH = rso(loss)
BASELINES = {
    "gradient": gradient_method(loss, optax.sgd(0.1)),
    "slopes": slopes_method(losses, optax.sgd(0.1)),
    "evolution": evolution_method(loss, STRATEGY),
}


def refused(call, *arguments, **settings):
    """What a call is refused with, in one line."""
    with pytest.raises(UserError) as told:
        call(*arguments, **settings)
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.fixture(params=BASELINES)
def baseline(request):
    method = BASELINES[request.param]
    state = method.init(KEY, PARAMS)
    (stage,) = method.stages(KEY, state, BATCHES)
    return method, state, stage


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 3), (-1, 1), (2, 1), (1, 1), (0, 1.5), (True, 2), ("0", 1), (0, np.zeros((20, 20)))],
)
def test_visits_that_a_baseline_does_not_have(baseline, start, stop):
    method, state, stage = baseline
    said = refused(method.advance, KEY, state, stage, BATCHES, start, stop)
    assert f"of {stage.name}, which has 2; pass whole numbers, 0 <= start < stop <= 2" in said


def test_whole_numbers_of_numpy_are_taken():
    method = BASELINES["gradient"]
    state = method.init(KEY, PARAMS)
    (stage,) = method.stages(KEY, state, BATCHES)
    _, info = method.advance(KEY, state, stage, BATCHES, np.int64(0), np.int32(2))
    assert info.visits == 2


def test_stages_of_another_method(baseline):
    method, state, stage = baseline
    for wrong in (Stage("w", stage.boundaries), "steps", None):
        for said in (
            refused(method.prepare, KEY, state, wrong, BATCHES),
            refused(method.advance, KEY, state, wrong, BATCHES, 0, 1),
            refused(run_stage, method, KEY, state, wrong, BATCHES),
        ):
            assert said.startswith("stage") and "pass one of method.stages(" in said


def test_states_of_another_method(baseline):
    method, _, stage = baseline
    for wrong in (SEARCH.init(KEY, PARAMS), PARAMS, None):
        for said in (
            refused(step, method, KEY, wrong, BATCHES),
            refused(method.stages, KEY, wrong, BATCHES),
            refused(method.advance, KEY, wrong, stage, BATCHES, 0, 1),
        ):
            assert said.startswith("state is") and "pass what init or step returned" in said
    for other in BASELINES.values():
        state = other.init(KEY, PARAMS)
        assert "pass what init or step returned" in refused(step, SEARCH, KEY, state, BATCHES)


def test_keys_that_are_none(baseline):
    method, state, stage = baseline
    for wrong in ("k", 0, None, jax.random.split(KEY), jnp.ones((30, 30))):
        for said in (
            refused(method.init, wrong, PARAMS),
            refused(step, method, wrong, state, BATCHES),
            refused(method.advance, wrong, state, stage, BATCHES, 0, 1),
        ):
            assert said.startswith("the key is")


@pytest.mark.parametrize("wrong", [3, None, "sgd", optax.sgd, rso(loss)])
def test_optimizers_that_are_none(wrong):
    for make, of in ((gradient_method, loss), (slopes_method, losses)):
        said = refused(make, of, wrong)
        assert said.startswith("optimizer is") and "optax.sgd(0.1)" in said


def test_an_optimizer_with_the_two_functions_of_one_is_taken():
    method = gradient_method(loss, optax.MultiSteps(optax.sgd(0.1), 2))
    state, _ = step(method, KEY, method.init(KEY, PARAMS), BATCHES)
    assert not np.array_equal(state.params["w"], PARAMS["w"])


def test_losses_and_strategies_that_are_no_functions():
    said = {
        refused(gradient_method, None, optax.sgd(0.1)),
        refused(slopes_method, None, optax.sgd(0.1)),
        refused(evolution_method, None, STRATEGY),
        refused(evolution_method, loss, None),
    }
    assert said == {
        f"{what} is a NoneType; pass a function" for what in ("loss_fn", "losses_fn", "strategy")
    }


@pytest.mark.parametrize("wrong", [rso, None, "rso", PARAMS, optax.sgd(0.1)])
def test_what_is_no_method(wrong):
    state = SEARCH.init(KEY, PARAMS)
    (stage,) = SEARCH.stages(KEY, state, BATCHES)
    for said in (
        refused(step, wrong, KEY, state, BATCHES),
        refused(run_stage, wrong, KEY, state, stage, BATCHES),
    ):
        assert said.startswith("method is") and "not a Method; pass rso(loss_fn), or" in said


def test_a_stage_says_what_is_decided_at_once():
    for settings, at_once in (({}, False), ({"block": Block("leaf", parabola())}, True)):
        search = rso(loss, **settings)
        (stage,) = search.stages(KEY, search.init(KEY, PARAMS), BATCHES)
        assert stage.at_once is at_once


@pytest.mark.parametrize("method", [SEARCH, *BASELINES.values()])
def test_a_list_of_mini_batches_is_no_stack(method):
    state = method.init(KEY, PARAMS)
    said = refused(step, method, KEY, state, [jnp.ones(4), jnp.ones(4)])
    assert "got [0] (4,), [1] (4,)" in said
    assert "a list of mini-batches is stacked by rso_jax.data.stacks_from" in said
