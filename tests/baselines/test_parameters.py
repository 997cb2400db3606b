"""What may be among the parameters of a baseline, and under which settings of JAX."""

from functools import cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from rso_jax import UserError
from rso_jax.baselines import (
    cosine_adam,
    cosine_sgd,
    evolution_method,
    gradient_method,
    open_es,
    pgpe,
    snes,
    spsa_method,
)
from rso_jax.mesh import make_mesh
from rso_jax.networks import cross_entropy, linen_network, loss_of, nnx_network, zero_one

KEY = jax.random.key(3)
RNG = np.random.default_rng(0)
BATCHES = {
    "image": RNG.normal(size=(2, 6, 3)).astype(np.float32),
    "label": (np.arange(12, dtype=np.int32) % 3).reshape(2, 6),
}
SMALL = {"population": 4, "sigma": 0.1, "learning_rate": 0.1, "steps": 4}
METHODS = {
    "sgd": lambda loss: gradient_method(loss, cosine_sgd(learning_rate=0.1, steps=4)),
    "adam": lambda loss: gradient_method(loss, cosine_adam(learning_rate=0.1, steps=4)),
    "open_es": lambda loss: evolution_method(loss, open_es(**SMALL)),
    "pgpe": lambda loss: evolution_method(loss, pgpe(**SMALL)),
    "snes": lambda loss: evolution_method(loss, snes(**SMALL)),
    "spsa": lambda loss: spsa_method(loss, cosine_sgd(learning_rate=0.1, steps=4), eps=0.1),
}
every_method = pytest.mark.parametrize("name", METHODS)

WEIGHTS = {"w": jnp.asarray(RNG.normal(size=(3, 3)), jnp.float32), "b": jnp.zeros(3)}
OTHERS = {
    "levels": jnp.array(3),
    "mask": jnp.array([True, False, True]),
    "key": jax.random.key(5),
    "phase": jnp.asarray([1 + 2j], jnp.complex64),
    "empty": jnp.zeros((0, 3)),
}


def loss_fn(params, batch):
    return cross_entropy(batch["image"] @ params["w"] + params["b"][None], batch["label"])


def trained(method, params):
    state = method.init(KEY, params)
    (stage,) = method.stages(KEY, state, BATCHES)
    state, info = method.advance(KEY, state, stage, BATCHES, 0, stage.visits)
    return jax.block_until_ready(method.params(state)), info


@cache
def trained_plainly(name, beside=None):
    """Without strict settings, alone or beside an integer."""
    others = {} if beside is None else {"n": jnp.array(beside)}
    return trained(METHODS[name](loss_fn), WEIGHTS | others)


def numbers(array):
    is_key = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(array) if is_key else array)


@every_method
def test_what_holds_no_weights_is_passed_through(name):
    """And the weights are trained as they are without it."""

    def with_others(params, batch):
        noise = jax.random.normal(params["key"]) * 0
        return loss_fn(params, batch) + noise + 0 * (params["levels"] + params["mask"].sum())

    found, info = trained(METHODS[name](with_others), WEIGHTS | OTHERS)
    expected, alone = trained_plainly(name)
    for leaf in OTHERS:
        assert found[leaf].dtype == OTHERS[leaf].dtype
        np.testing.assert_array_equal(numbers(found[leaf]), numbers(OTHERS[leaf]))
    for leaf in WEIGHTS:
        np.testing.assert_allclose(found[leaf], expected[leaf], rtol=1e-6)
        assert (found[leaf] != WEIGHTS[leaf]).any()
    assert info.weight_updates == alone.weight_updates


@pytest.mark.parametrize(
    "make",
    [
        partial(gradient_method, optimizer=cosine_sgd(learning_rate=0.1, steps=4)),
        partial(evolution_method, strategy=open_es(**SMALL)),
        partial(spsa_method, optimizer=cosine_sgd(learning_rate=0.1, steps=4), eps=0.1),
    ],
)
def test_keys_pass_on_a_mesh(make):
    found, _ = trained(make(loss_fn, mesh=make_mesh(1, 1)), WEIGHTS | OTHERS)
    np.testing.assert_array_equal(numbers(found["key"]), numbers(OTHERS["key"]))


@pytest.mark.parametrize("name", ["open_es", "pgpe", "snes", "spsa"])
def test_all_members_are_scored_with_the_same_integers(name):
    seen = set()

    def watched(params, batch):
        jax.debug.callback(lambda n, on: seen.add((int(n), bool(on))), params["n"], params["on"])
        return loss_fn(params, batch)

    trained(METHODS[name](watched), WEIGHTS | {"n": jnp.array(3), "on": jnp.array(True)})
    jax.effects_barrier()
    assert seen == {(3, True)}


@every_method
@pytest.mark.parametrize("types", [("bfloat16", "bfloat16"), ("bfloat16", "float32")])
def test_every_weight_keeps_its_type_and_is_scored_in_it(name, types):
    seen = set()
    params = {leaf: a.astype(t) for (leaf, a), t in zip(WEIGHTS.items(), types, strict=True)}

    def watched(params, batch):
        seen.add(tuple(str(params[leaf].dtype) for leaf in WEIGHTS))
        return loss_fn(params, batch)

    found, _ = trained(METHODS[name](watched), params)
    assert {leaf: a.dtype for leaf, a in found.items()} == {k: a.dtype for k, a in params.items()}
    assert seen == {types}
    assert any((found[leaf] != params[leaf]).any() for leaf in WEIGHTS)


def test_a_masked_optimiser_sees_the_users_structure():
    frozen = optax.masked(optax.set_to_zero(), {"w": True, "b": False, "n": False})
    method = gradient_method(loss_fn, optax.chain(optax.sgd(0.1), frozen))
    found, _ = trained(method, WEIGHTS | {"n": jnp.array(1)})
    np.testing.assert_array_equal(found["w"], WEIGHTS["w"])
    assert (found["b"] != WEIGHTS["b"]).all()


@every_method
@pytest.mark.parametrize(
    ("params", "said"),
    [
        (
            {"layer": {"act": jnp.tanh}},
            r"params layer/act is a function .*must be an array.*keep anything else out",
        ),
        ({"name": "mlp"}, r"params name is the string 'mlp'; every leaf must be an array"),
        (
            {"names": np.array(["a"])},
            r"params names is a NumPy array of type <U1; every leaf must be an array",
        ),
        ({"n": jnp.array(3)}, "no floating-point array"),
        ({}, "no floating-point array"),
    ],
)
def test_what_is_no_array_is_refused_by_name(name, params, said):
    params = params | WEIGHTS if "no floating" not in said else params
    with pytest.raises(UserError, match=said):
        METHODS[name](loss_fn).init(KEY, params)


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(4)(x))
        return nn.Dense(3)(nn.relu(x))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.out = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        return self.out(nnx.relu(self.norm(self.hidden(x))))


def linen():
    network = linen_network(Linen(), searching={"train": True}, evaluating={"train": False})
    return network.init(KEY, BATCHES["image"][0]), network


STRICT = {
    "rank_promotion": lambda: jax.numpy_rank_promotion("raise"),
    "dtype_promotion": lambda: jax.numpy_dtype_promotion("strict"),
    "checks": lambda: jax.enable_checks(True),
    "debug_nans": lambda: jax.debug_nans(True),
}
strictly = pytest.mark.parametrize("setting", STRICT)


@strictly
@pytest.mark.parametrize("make", [linen, lambda: nnx_network(Nnx(nnx.Rngs(0)))])
def test_networks_and_losses_under_strict_settings(make, setting):
    with STRICT[setting]():
        params, network = make()
        batch = jax.tree.map(lambda a: a[0], BATCHES)
        assert np.isfinite(loss_of(network)(params, batch))
        assert 0 <= float(loss_of(network, zero_one)(params, batch)) <= 1
        statistics = jax.jit(network.calibrate)(params, batch["image"])
        assert np.isfinite(network.evaluate(params, statistics, batch["image"])).all()


@strictly
@every_method
def test_methods_under_strict_settings(name, setting):
    params = WEIGHTS | {"n": jnp.array(3)}
    expected, _ = trained_plainly(name, beside=3)
    with STRICT[setting]():
        found, _ = trained(METHODS[name](loss_fn), params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)


@every_method
def test_the_users_loss_is_held_to_strict_settings(name):
    def promoting(params, batch):
        return loss_fn(params, batch) + 0 * (batch["image"] + params["b"]).sum()

    with jax.numpy_rank_promotion("raise"), pytest.raises(ValueError, match="rank_promotion"):
        trained(METHODS[name](promoting), WEIGHTS)
