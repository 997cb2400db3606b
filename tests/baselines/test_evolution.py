"""Evolution strategies as training methods, against evosax driven by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rso_jax import UserError
from rso_jax.baselines import evolution_method, open_es, pgpe, snes

KEY = jax.random.key(3)
RNG = np.random.default_rng(0)
BATCHES = {"x": jnp.asarray(RNG.normal(size=(6, 5, 3)), jnp.float32)}
PARAMS = {"w": jnp.asarray([0.5, -1.0, 2.0], jnp.float32), "b": jnp.zeros((), jnp.float32)}
SETTINGS = {"population": 20, "sigma": 0.1, "learning_rate": 0.05, "steps": 6}
OWN = {snes: {"learning_rate": 1.0}}


def loss_fn(params, batch):
    return jnp.mean((batch["x"] @ params["w"] + params["b"] - batch["x"].sum(-1)) ** 2)


@pytest.fixture(params=[open_es, pgpe, snes])
def strategy(request):
    return request.param(**(SETTINGS | OWN.get(request.param, {})))


def advance(method, state, start, stop, key=KEY):
    (stage,) = method.stages(key, state, BATCHES)
    prepared = method.prepare(key, state, stage, BATCHES)
    return method.advance(key, state, stage, prepared, start, stop)


def by_hand(strategy, generations):
    """Every member is scored on the generation's mini-batch."""
    algorithm, settings = strategy(PARAMS)
    state = algorithm.init(KEY, PARAMS, settings)
    for i in range(generations):
        ask_key, tell_key = jax.random.split(jax.random.fold_in(KEY, i))
        population, state = algorithm.ask(ask_key, state, settings)
        batch = {"x": BATCHES["x"][i]}
        members = [jax.tree.map(lambda a, n=n: a[n], population) for n in range(20)]
        fitness = jnp.stack([loss_fn(member, batch) for member in members])
        state, _ = algorithm.tell(tell_key, population, fitness, state, settings)
    return algorithm.get_mean(state), float(fitness.mean())


def test_an_epoch_in_two_parts_is_evosax_by_hand(strategy):
    method = evolution_method(loss_fn, strategy)
    state = method.init(KEY, PARAMS)
    (stage,) = method.stages(KEY, state, BATCHES)
    assert (stage.name, stage.visits) == ("generations", 6)
    state, _ = advance(method, state, 0, 2)
    state, info = advance(method, state, 2, 6)
    expected, loss = by_hand(strategy, 6)
    for name, value in expected.items():
        np.testing.assert_allclose(method.params(state)[name], value, rtol=1e-4, atol=1e-6)
    assert float(info.loss) == pytest.approx(loss, rel=1e-4)
    assert info.image_evaluations == 4 * 20 * 5 and info.weight_updates == 4 * 4


def test_it_learns(strategy):
    everything = {"x": BATCHES["x"].reshape(-1, 3)}
    method = evolution_method(loss_fn, strategy)
    state = method.init(KEY, PARAMS)
    before = float(loss_fn(PARAMS, everything))
    for epoch in range(15):
        state, _ = advance(method, state, 0, 6, jax.random.fold_in(KEY, epoch))
    assert float(loss_fn(method.params(state), everything)) < before


def test_weights_keep_their_type(strategy):
    with jax.enable_x64(True):
        method = evolution_method(loss_fn, strategy)
        state, _ = advance(method, method.init(KEY, PARAMS), 0, 6)
        assert {a.dtype for a in jax.tree.leaves(method.params(state))} == {jnp.dtype("float32")}


def test_members_whose_loss_is_not_finite_do_no_harm(strategy):
    def broken(params, batch):
        return jnp.where(params["w"][0] > 0.5, jnp.nan, loss_fn(params, batch))

    method = evolution_method(broken, strategy)
    state, _ = advance(method, method.init(KEY, PARAMS), 0, 6)
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(method.params(state)))


@pytest.mark.parametrize("make", [open_es, pgpe, snes])
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"population": 0}, "population is 0"),
        ({"sigma": 0.0}, "sigma"),
        ({"learning_rate": -1.0}, "learning_rate"),
    ],
)
def test_settings_that_cannot_work(make, wrong, named):
    with pytest.raises(UserError, match=named):
        make(**(SETTINGS | wrong))


@pytest.mark.parametrize("make", [open_es, pgpe])
def test_members_in_pairs_are_even_in_number(make):
    with pytest.raises(UserError, match="population is 7; it must be even"):
        make(**(SETTINGS | {"population": 7}))
    snes(**(SETTINGS | {"population": 7}))
