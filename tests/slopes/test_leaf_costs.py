"""What an estimate costs: counted ahead, told by it, and counted by the loss itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rso_jax.slopes import probes, value_and_slopes
from rso_jax.slopes.cost import count_cost
from rso_jax.slopes.planning import Settings

RNG = np.random.default_rng(8)
EXAMPLES, TOKENS = 6, 3
TEXT = jnp.asarray(RNG.integers(0, 5, (EXAMPLES, TOKENS)))


def normal(*shape):
    return jnp.asarray(RNG.standard_normal(shape), jnp.float32)


PARAMS = {
    "words": normal(5, 4),
    "mix": normal(4, 4),
    "scale": normal(4),
    "out": {"kernel": normal(4, 2), "bias": normal(2)},
}


def losses(params, text):
    h = params["words"][text]
    h = h + jnp.tanh(jnp.cumsum(h @ params["mix"], 1)) * params["scale"]
    return jnp.sum(jnp.tanh(h @ params["out"]["kernel"] + params["out"]["bias"]), -1)


def together(**settings):
    return probes.nodes(positions="together", **settings)


WAYS = {
    # words 5 x 4 or positions; mix, scale 1 x 4, kernel 4 x 2; the bias by itself or with it.
    "weights": (probes.weights(), 20 + 16 + 4 + 8 + 2),
    "each": (probes.cheapest(), 4 * 3 + 4 * 3 + 4 + 2 * 3),
    "together": (together(credit="own", repeats=2), 2 * (4 + 4 + 4 + 2)),
    "towards": (probes.towards(positions="together"), 4 + 4 + 4 + 2),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_counted_ahead_is_what_is_evaluated(way):
    calls = []

    def count(values):
        calls.append(1)
        return np.asarray(values)

    def counted(params, text):
        found = losses(params, text)
        shape = jax.ShapeDtypeStruct(found.shape, found.dtype)
        return jax.pure_callback(count, shape, found, vmap_method="sequential")

    probes_of_it, expected = WAYS[way]
    estimate = jax.jit(value_and_slopes(counted, probes_of_it))
    _, _, info = estimate(jax.random.key(0), PARAMS, TEXT)
    jax.effects_barrier()
    settings = Settings(losses, probes_of_it, None, None, 2**30)
    costs = count_cost(settings, PARAMS, TEXT)
    assert sum(cost.evaluations for cost in costs) == expected
    assert info.image_evaluations == (1 + expected) * EXAMPLES
    assert len(calls) == 1 + expected


def test_the_cost_of_every_leaf_is_told():
    settings = Settings(losses, probes.cheapest(), lambda path: path != "mix", None, 2**30)
    costs = {cost.path: cost for cost in count_cost(settings, PARAMS, TEXT)}
    assert {*costs} == {"words", "scale", "out/kernel", "out/bias"}
    words, scale = costs["words"], costs["scale"]
    kernel, bias = costs["out/kernel"], costs["out/bias"]
    assert (words.columns, words.height, words.positions, words.moves) == (4, 5, 3, "positions")
    assert (scale.columns, scale.height, scale.moves, scale.evaluations) == (4, 1, "weights", 4)
    # The bias follows from the probes of what it is added to.
    assert (kernel.moves, kernel.evaluations, bias.evaluations) == ("positions", 6, 0)
    for cost in costs.values():
        assert 0 < cost.candidate_flops < cost.forward_flops
        assert cost.candidate_bytes > 0
    # A column of the last layer changes one unit of it.
    assert kernel.candidate_flops < words.candidate_flops


def test_a_cost_is_counted_of_shapes():
    known = jax.eval_shape(lambda: (PARAMS, TEXT))
    settings = Settings(losses, probes.cheapest(), None, None, 2**30)
    assert count_cost(settings, *known) == count_cost(settings, PARAMS, TEXT)
