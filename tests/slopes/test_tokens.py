"""A loss for every token: which of them a moved position is credited with, against Jacobians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import gradient_of

from rso_jax.errors import UserError
from rso_jax.slopes import probes, value_and_slopes

KEY = jax.random.key(3)
RNG = np.random.default_rng(4)
EXAMPLES, HEADS, TOKENS, INPUTS, UNITS = 6, 2, 3, 4, 2
X = RNG.standard_normal((EXAMPLES, HEADS, TOKENS, INPUTS)).astype(np.float32)
WEIGHTS = {"w": jnp.asarray(RNG.standard_normal((INPUTS, UNITS)), jnp.float32)}
CREDITS = ("all", "own", "following")

# What each token's loss takes of each token's pre-activation, [of, by].
ANY = RNG.standard_normal((TOKENS, TOKENS)).astype(np.float32)
MIXING = {"causal": np.tril(ANY), "any": ANY, "none": np.diag(np.diag(ANY))}


def linear(mixing):
    """Losses [n, T] that are linear in pre-activations [n, heads, T, units]."""

    def losses(params, x):
        return jnp.einsum("tp,nhpu->nt", jnp.asarray(mixing), x @ params["w"])

    return losses


def curved(mixing):
    """Losses that are quadratic in them."""

    def losses(params, x):
        return jnp.einsum("tp,nhpu->nt", jnp.asarray(mixing), (x @ params["w"]) ** 2)

    return losses


def credited(mixing, credit):
    """What of the mixing a credit counts."""
    kept = {
        "all": mixing,
        "own": np.diag(np.diag(mixing)),
        # A position is credited with the losses of tokens from its own on.
        "following": np.tril(mixing),
    }
    return kept[credit]


def slopes_of(mixing):
    """Of a linear loss: the Jacobian by z, transposed to the weights."""
    by_unit = np.einsum("tp,nhpk->k", mixing, X) / (EXAMPLES * TOKENS)
    return np.broadcast_to(by_unit[:, None], (INPUTS, UNITS))


@pytest.mark.parametrize("credit", CREDITS)
@pytest.mark.parametrize("mixing", MIXING)
def test_one_position_at_a_time_is_credited_with_what_it_is_told(mixing, credit):
    estimate = value_and_slopes(linear(MIXING[mixing]), probes.nodes(credit=credit))
    value, slopes, info = jax.jit(estimate)(KEY, WEIGHTS, X)
    expected = slopes_of(credited(MIXING[mixing], credit))
    np.testing.assert_allclose(slopes["w"], expected, atol=1e-4)
    np.testing.assert_allclose(value, linear(MIXING[mixing])(WEIGHTS, X).mean(), rtol=1e-5)
    assert info.image_evaluations == (1 + HEADS * TOKENS * UNITS) * EXAMPLES


@pytest.mark.parametrize("credit", CREDITS)
@pytest.mark.parametrize("losses", [linear, curved])
def test_signs_for_all_positions_are_right_on_average(losses, credit):
    # Of losses that curve no further than quadratically: what a move of some size adds to a slope
    # has an odd number of signs in it.
    way = probes.nodes(0.5, positions="together", credit=credit)
    estimate = value_and_slopes(losses(MIXING["causal"]), way)
    many = jax.jit(jax.vmap(lambda key: estimate(key, WEIGHTS, X)[1]["w"]))
    found = np.asarray(many(jax.random.split(KEY, 600)), np.float64)
    counted = losses(credited(MIXING["causal"], credit))
    expected = gradient_of(counted, WEIGHTS, X)["w"]
    error = found.std(0) / np.sqrt(len(found))
    # Of 8 weights, in 6 tests.
    assert np.all(np.abs(found.mean(0) - expected) < 4 * error)
    assert np.all(error > 0)


def test_noise_falls_with_what_is_credited():
    def spread(credit):
        way = probes.nodes(positions="together", credit=credit)
        estimate = value_and_slopes(linear(MIXING["none"]), way)
        many = jax.jit(jax.vmap(lambda key: estimate(key, WEIGHTS, X)[1]["w"]))
        return np.asarray(many(jax.random.split(KEY, 100))).std(0).mean()

    assert spread("own") < spread("following") < spread("all")


def test_a_token_of_its_own_is_exact_with_one_evaluation():
    def losses(params, x):
        return jnp.tanh(x @ params["w"]).sum(-1)

    x, way = X[:, 0], probes.nodes(0.01, positions="together", credit="own")
    _, slopes, info = jax.jit(value_and_slopes(losses, way))(KEY, WEIGHTS, x)
    expected = gradient_of(losses, WEIGHTS, x)
    np.testing.assert_allclose(slopes["w"], expected["w"], atol=0.01)
    assert info.image_evaluations == (1 + UNITS) * EXAMPLES


def test_positions_that_lie_at_no_token_are_credited_with_all_losses():
    def losses(params, x):
        # Two positions, for the heads, and three tokens.
        return jnp.einsum("nhu,t->nt", x[:, :, 0] @ params["w"], jnp.arange(3.0))

    for credit in CREDITS:
        estimate = jax.jit(value_and_slopes(losses, probes.nodes(credit=credit)))
        _, slopes, _ = estimate(KEY, WEIGHTS, X)
        expected = gradient_of(losses, WEIGHTS, X)
        np.testing.assert_allclose(slopes["w"], expected["w"], atol=1e-4)


def test_weight_probes_see_the_mean_of_all_losses():
    _, slopes, _ = jax.jit(value_and_slopes(linear(ANY), probes.weights()))(KEY, WEIGHTS, X)
    np.testing.assert_allclose(slopes["w"], slopes_of(ANY), atol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: probes.nodes(credit="mine"), "credit is 'mine'; there are 'all', 'own'"),
        (lambda: probes.towards(positions="some"), "positions is 'some'; there are 'each'"),
        (lambda: probes.nodes(0.0), "eps is 0.0"),
        (lambda: probes.weights(-1.0), "eps is -1.0"),
        (lambda: probes.nodes(repeats=0), "repeats is 0"),
    ],
)
def test_settings_that_are_none_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
