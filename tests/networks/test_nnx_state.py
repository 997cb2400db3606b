"""State of NNX models: every function gives what Flax itself gives, or says why not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from searching import sweep

from rso_jax import UserError, rso
from rso_jax.networks import cross_entropy, from_nnx, nnx_network

KEY = jax.random.key(1)
IMAGES = jax.random.normal(KEY, (12, 2, 3)) * 2 + 5
LABELS = jnp.arange(12) % 3
BATCH = {"image": IMAGES, "label": LABELS}


def flat(x):
    return x.reshape(len(x), -1)


class Normalised(nnx.Module):
    """Two norms, one of them frozen at given statistics if asked."""

    def __init__(self, rngs, frozen=False, momentum=0.9):
        self.hidden = nnx.Linear(6, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, use_running_average=frozen, momentum=momentum, rngs=rngs)
        self.norm.mean[...] = jnp.arange(4.0)
        self.out = nnx.Linear(4, 3, use_bias=False, rngs=rngs)
        self.last = nnx.BatchNorm(3, rngs=rngs)

    def __call__(self, x):
        return self.last(self.out(nnx.silu(self.norm(self.hidden(flat(x))))))


class Flagged(nnx.Module):
    """One argument for batch norm and dropout."""

    def __init__(self, rngs):
        self.hidden = nnx.Linear(6, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.out = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x, train=False):
        x = self.norm(self.hidden(flat(x)), use_running_average=not train)
        return self.out(self.dropout(x, deterministic=not train))


class Spectral(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.SpectralNorm(nnx.Linear(6, 4, rngs=rngs), rngs=rngs)
        self.out = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        return self.out(nnx.tanh(self.hidden(flat(x))))


class Recurrent(nnx.Module):
    """Cells that draw their first carry, and a model that keeps one of its own."""

    def __init__(self, rngs):
        self.rnn = nnx.RNN(nnx.GRUCell(3, 4, rngs=rngs))
        self.carry = nnx.Cache(jnp.zeros(4))
        self.out = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        last = self.rnn(x)[:, -1] + self.carry[...]
        self.carry[...] = last.mean(0)
        return self.out(last)


class Calls(nnx.Variable):
    pass


class Counting(nnx.Module):
    """Counts in whole numbers, as a Variable and as a plain attribute, and puts values aside."""

    def __init__(self, rngs):
        self.out = nnx.Linear(6, 3, rngs=rngs)
        self.calls = Calls(jnp.array(2))
        self.plain = jnp.array(0)
        self.name = "a model"

    def __call__(self, x):
        self.calls[...] = self.calls[...] + 1
        self.plain = self.plain + 1
        x = self.out(flat(x))
        self.seen = nnx.Intermediate(x)
        return x * self.calls[...]


class Parameterless(nnx.Module):
    def __call__(self, x):
        return flat(x)[:, :3]


MODELS = [Normalised, lambda rngs: Normalised(rngs, frozen=True), Flagged, Spectral, Recurrent]
MODELS += [Counting]


@pytest.mark.parametrize("make", [*MODELS, lambda rngs: Parameterless()])
def test_the_loss_is_that_of_a_call_and_the_same_again(make):
    model = make(nnx.Rngs(0))
    params, loss_fn = from_nnx(model)
    expected = float(cross_entropy(make(nnx.Rngs(0))(IMAGES), LABELS))
    compiled = jax.jit(loss_fn)
    for _ in range(2):
        assert float(compiled(params, BATCH)) == pytest.approx(expected, rel=1e-5)
    jax.tree.map(
        lambda a, b: (
            np.testing.assert_array_equal(*map(jax.random.key_data, (a, b)))
            if jnp.issubdtype(a.dtype, jax.dtypes.prng_key)
            else np.testing.assert_array_equal(a, b)
        ),
        nnx.to_pure_dict(nnx.state(model)),
        nnx.to_pure_dict(nnx.state(make(nnx.Rngs(0)))),
    )


@pytest.mark.parametrize("make", MODELS)
def test_any_is_calibrated_and_evaluated(make):
    params, network = nnx_network(make(nnx.Rngs(0)))
    statistics = jax.jit(network.calibrate)(params, IMAGES)
    found = network.evaluate(params, statistics, IMAGES)
    assert np.isfinite(found).all()
    if make is Normalised:
        np.testing.assert_allclose(found, network.logits(params, IMAGES), atol=1e-3)


def test_a_model_with_state_is_searched():
    params, loss_fn = from_nnx(Recurrent(nnx.Rngs(0)))
    search = rso(loss_fn)
    batches = jax.tree.map(lambda a: a[None], BATCH)
    _, info = sweep(search, KEY, search.init(KEY, params), "out/kernel", batches)
    assert int(info.accepted) > 0


@pytest.mark.parametrize("momentum", [0.0, 0.99])
def test_running_averages_become_those_of_the_batch(momentum):
    params, network = nnx_network(Normalised(nnx.Rngs(0), momentum=momentum))
    found = network.calibrate(params, IMAGES)["batch_stats"]["norm"]
    hidden = flat(IMAGES) @ params["hidden"]["kernel"] + params["hidden"]["bias"]
    np.testing.assert_allclose(found["mean"], hidden.mean(0), rtol=1e-3)
    np.testing.assert_allclose(found["var"], hidden.var(0), rtol=1e-3)


def test_a_frozen_norm_stays_beside_one_that_is_not():
    params, network = nnx_network(Normalised(nnx.Rngs(0), frozen=True))
    found = network.calibrate(params, IMAGES)["batch_stats"]
    np.testing.assert_array_equal(found["norm"]["mean"], np.arange(4.0))
    np.testing.assert_array_equal(found["norm"]["var"], np.ones(4))
    assert (np.asarray(found["last"]["mean"]) != 0).all()


@pytest.mark.parametrize("make", [Spectral, Counting])
def test_what_is_no_running_average_is_as_one_call_leaves_it(make):
    model = make(nnx.Rngs(0))
    params, network = nnx_network(model)
    found = network.calibrate(params, IMAGES)["batch_stats"]
    model(IMAGES)
    expected = nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Any(nnx.Param, nnx.Intermediate))))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)


def test_modes_are_the_users():
    """In evaluation mode, stored statistics and no dropout; arguments go to every call."""
    model = Normalised(nnx.Rngs(0))
    model.eval()
    params, network = nnx_network(model)
    np.testing.assert_allclose(network.logits(params, IMAGES), model(IMAGES), rtol=1e-5)

    params, network = nnx_network(
        Flagged(nnx.Rngs(0)), searching={"train": True}, evaluating={"train": False}
    )
    expected = Flagged(nnx.Rngs(0))(IMAGES, train=True)
    np.testing.assert_allclose(network.logits(params, IMAGES), expected, rtol=1e-5)
    statistics = network.calibrate(params, IMAGES)
    norm = statistics["batch_stats"]["norm"]
    hidden = flat(IMAGES) @ params["hidden"]["kernel"] + params["hidden"]["bias"]
    hidden = (hidden - norm["mean"]) / jnp.sqrt(norm["var"] + 1e-5)
    expected = hidden @ params["out"]["kernel"] + params["out"]["bias"]
    found = network.evaluate(params, statistics, IMAGES)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_evaluation_that_would_use_the_batch_is_refused():
    params, network = nnx_network(
        Flagged(nnx.Rngs(0)), searching={"train": True}, evaluating={"train": True}
    )
    with pytest.raises(UserError, match=r"changes its statistics norm/mean.*'train': False"):
        network.evaluate(params, network.calibrate(params, IMAGES), IMAGES)


@pytest.mark.parametrize("wrong", [Counting, lambda x: x, None])
def test_what_is_no_nnx_module(wrong):
    with pytest.raises(UserError, match=r"no instance of a flax\.nnx module"):
        from_nnx(wrong)
