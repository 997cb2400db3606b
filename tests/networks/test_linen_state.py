"""State of Linen modules: every function gives what Flax itself gives, or says why not."""

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from searching import sweep

from rso_jax import UserError, rso, step
from rso_jax.networks import cross_entropy, from_linen, linen_network

KEY = jax.random.key(1)
IMAGES = jax.random.normal(KEY, (12, 2, 3)) * 2 + 5
LABELS = jnp.arange(12) % 3
BATCH = {"image": IMAGES, "label": LABELS}
TRAIN = {"train": True}


def flat(x):
    return x.reshape(len(x), -1)


class Normalised(nn.Module):
    """Stored statistics unless told to train, the usual default."""

    momentum: float = 0.9
    frozen: bool = False

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(4)(flat(x))
        x = nn.BatchNorm(use_running_average=self.frozen or not train, momentum=self.momentum)(x)
        return nn.Dense(3, use_bias=False)(nn.silu(x))


class Spectral(nn.Module):
    """Spectral norm beside batch norm, both by one flag."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.SpectralNorm(nn.Dense(4))(flat(x), update_stats=train)
        return nn.BatchNorm(use_running_average=not train)(nn.Dense(3)(nn.tanh(x)))


class Dropped(nn.Module):
    """One flag for batch norm and dropout."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(8)(flat(x)))
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=not train)(x))


class Counting(nn.Module):
    """A norm that counts its batches in whole numbers beside the averages; and calls elsewhere."""

    @nn.compact
    def __call__(self, x, train=True):
        x = nn.Dense(3)(flat(x))
        mean = self.variable("batch_stats", "mean", lambda: jnp.full(3, 7.0))
        batches = self.variable("batch_stats", "batches", lambda: jnp.array(4))
        calls = self.variable("counters", "calls", lambda: jnp.array([0.5]))
        calls.value = calls.value + 1
        if not train:
            return x - mean.value
        batches.value = batches.value + 1
        mean.value = 0.75 * mean.value + 0.25 * x.mean(0)
        return x - x.mean(0) + 0 * calls.value


class Debiased(nn.Module):
    """An average that divides by what it has seen: no leaf of it can be solved for alone."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(3)(flat(x))
        seen = self.variable("batch_stats", "seen", lambda: jnp.array(0))
        hidden = self.variable("batch_stats", "hidden", lambda: jnp.zeros(3))
        average = self.variable("batch_stats", "average", lambda: jnp.zeros(3))
        if train:
            seen.value = seen.value + 1
            hidden.value = 0.9 * hidden.value + 0.1 * x.mean(0)
            average.value = hidden.value / (1 - 0.9**seen.value)
        return x - average.value


class Carried(nn.Module):
    """A carry of one row for each example, and values put aside by sow."""

    @nn.compact
    def __call__(self, x):
        carry = self.variable("carry", "hidden", jnp.zeros, (len(x), 4))
        hidden = nn.tanh(nn.Dense(4)(flat(x)) + carry.value)
        if not self.is_initializing():
            carry.value = hidden
        self.sow("losses", "size", (hidden**2).mean())
        self.sow("intermediates", "hidden", hidden)
        return nn.Dense(3)(self.perturb("moved", hidden))


def flax_variables(module, **arguments):
    return module.init(KEY, IMAGES[:1], **arguments)


def logits_of(loss, logits):
    return float(loss(logits, LABELS))


@pytest.mark.parametrize(
    "module", [Normalised(), Normalised(frozen=True), Spectral(), Dropped(), Debiased(), Carried()]
)
def test_called_by_its_defaults_the_initial_state_counts(module):
    params, loss_fn = from_linen(module, KEY, IMAGES)
    variables = module.init(KEY, IMAGES)
    expected, _ = module.apply(variables, IMAGES, mutable=["carry"])
    found = jax.jit(loss_fn)(params, BATCH)
    assert float(found) == pytest.approx(float(cross_entropy(expected, LABELS)), rel=1e-5)


def test_a_module_with_state_is_searched():
    params, loss_fn = from_linen(Spectral(), KEY, IMAGES, searching=TRAIN)
    search = rso(loss_fn)
    batches = jax.tree.map(lambda a: a[None], BATCH)
    _, info = sweep(search, KEY, search.init(KEY, params), "Dense_0/kernel", batches)
    assert int(info.accepted) > 0


@pytest.mark.parametrize("module", [Normalised(), Spectral(), Counting(), Debiased(), Carried()])
def test_calibrated_it_evaluates_as_it_was_searched(module):
    """Though Flax's own evaluation would use averages over many calls."""
    arguments = {} if isinstance(module, Carried) else TRAIN
    off = {name: not value for name, value in arguments.items()}
    network = linen_network(module, searching=arguments, evaluating=off)
    params = network.init(KEY, IMAGES)
    statistics = jax.jit(network.calibrate)(params, IMAGES)
    found = network.evaluate(params, statistics, IMAGES)
    if isinstance(module, Spectral):  # its power iterations go on: from where they are, the same
        network = linen_network(module, searching=arguments, state=statistics)
    np.testing.assert_allclose(found, network.logits(params, IMAGES), atol=1e-3)
    # A part of the examples has the logits that it has among all.
    some = network.evaluate(params, statistics, IMAGES[:5])
    np.testing.assert_allclose(some, found[:5], atol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.99, 0.999])
@pytest.mark.parametrize("scale", [0.01, 1.0, 1000.0])
def test_running_averages_become_those_of_the_batch_whatever_the_momentum(momentum, scale):
    network = linen_network(Normalised(momentum), searching=TRAIN)
    params = network.init(KEY, IMAGES)
    statistics = network.calibrate(params, scale * IMAGES)["batch_stats"]["BatchNorm_0"]
    dense = {name: np.asarray(a, np.float64) for name, a in params["Dense_0"].items()}
    hidden = flat(np.asarray(scale * IMAGES, np.float64)) @ dense["kernel"] + dense["bias"]
    np.testing.assert_allclose(statistics["mean"], hidden.mean(0), rtol=2e-3, atol=2e-3 * scale)
    np.testing.assert_allclose(statistics["var"], hidden.var(0), rtol=2e-3)


@pytest.mark.parametrize("module", [Normalised(frozen=True), Normalised()])
def test_stored_statistics_stay_and_may_be_given(module):
    arguments = TRAIN if module.frozen else {}
    network = linen_network(module, searching=arguments)
    params = network.init(KEY, IMAGES)
    norm = network.calibrate(params, IMAGES)["batch_stats"]["BatchNorm_0"]
    assert (norm["mean"] == 0).all() and (norm["var"] == 1).all()

    trained = {"batch_stats": {"BatchNorm_0": {"mean": jnp.arange(4.0), "var": jnp.full(4, 2.0)}}}
    network = linen_network(module, searching=arguments, state=trained)
    expected = module.apply({"params": params, **trained}, IMAGES)
    np.testing.assert_allclose(network.logits(params, IMAGES), expected, rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, network.calibrate(params, IMAGES), trained)


def test_what_is_no_running_average_is_as_one_call_leaves_it():
    for module in (Spectral(), Counting(), Debiased()):
        variables, params = flax.core.pop(module.init(KEY, IMAGES), "params")
        network = linen_network(module, searching=TRAIN, state=variables)
        logits, after = module.apply(
            {"params": params, **variables}, IMAGES, **TRAIN, mutable=list(variables)
        )
        np.testing.assert_allclose(network.logits(params, IMAGES), logits, rtol=1e-5)
        found = traverse_util.flatten_dict(network.calibrate(params, IMAGES))
        solved = {("batch_stats", "mean")}
        for path, expected in traverse_util.flatten_dict(after).items():
            if path not in solved and "BatchNorm_0" not in path:
                np.testing.assert_allclose(found[path], expected, rtol=1e-5)
                assert found[path].dtype == expected.dtype
        if isinstance(module, Counting):
            expected = flat(IMAGES) @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]
            np.testing.assert_allclose(found["batch_stats", "mean"], expected.mean(0), rtol=1e-5)


def test_state_of_single_examples_is_no_statistic():
    network = linen_network(Carried())
    statistics = network.calibrate(network.init(KEY, IMAGES), IMAGES)
    assert statistics["carry"]["hidden"] is None


def test_dropout_takes_keys_and_says_so_without():
    params, loss_fn = from_linen(Dropped(), KEY, IMAGES, searching=TRAIN)
    with pytest.raises(UserError, match=r"Dropped, .*pass rngs=\{'dropout': key\}") as told:
        jax.jit(loss_fn)(params, BATCH)
    assert "\n" not in str(told.value)

    rngs = {"dropout": jax.random.key(7)}
    network = linen_network(Dropped(), searching=TRAIN, evaluating={"train": False}, rngs=rngs)
    variables = Dropped().init(KEY, IMAGES[:1])
    expected, _ = Dropped().apply(variables, IMAGES, **TRAIN, rngs=rngs, mutable=["batch_stats"])
    np.testing.assert_allclose(network.logits(params, IMAGES), expected, rtol=1e-5)
    statistics = network.calibrate(params, IMAGES)
    evaluated = network.evaluate(params, statistics, IMAGES)
    expected = Dropped().apply({"params": params, **statistics}, IMAGES)
    np.testing.assert_allclose(evaluated, expected, rtol=1e-5)


def test_a_module_without_parameters():
    params, loss_fn = from_linen(nn.Sequential([lambda x: flat(x)[:, :3]]), KEY, IMAGES)
    assert params == {}
    expected = cross_entropy(flat(IMAGES)[:, :3], LABELS)
    assert float(loss_fn(params, BATCH)) == pytest.approx(float(expected))
    with pytest.raises(UserError, match="nothing to search"):
        search, batches = rso(loss_fn), jax.tree.map(lambda a: a[None], BATCH)
        step(search, KEY, search.init(KEY, params), batches)


def test_evaluation_that_would_use_the_batch_is_refused():
    network = linen_network(Counting())
    params = network.init(KEY, IMAGES)
    with pytest.raises(UserError, match=r"changes its statistics .*'train': False"):
        network.evaluate(params, network.calibrate(params, IMAGES), IMAGES)


class Flagged(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(3)(flat(x))


@pytest.mark.parametrize(
    ("searching", "said"),
    [({}, "missing a required argument: 'train'"), ({"trian": 1}, "missing|unexpected")],
)
def test_arguments_that_the_module_does_not_take(searching, said):
    with pytest.raises(UserError, match=rf"Flagged cannot be called .*searching={{.*({said})"):
        from_linen(Flagged(), KEY, IMAGES, searching=searching)


@pytest.mark.parametrize("wrong", [Flagged, lambda x: x, None])
def test_what_is_no_linen_module(wrong):
    with pytest.raises(UserError, match=r"no flax\.linen module"):
        linen_network(wrong)
