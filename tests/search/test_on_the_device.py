"""A sweep never waits for the host, and where it may, it works in the memory it was given."""

import math
import os
import re

import jax
import jax.numpy as jnp
import pytest
from problems import clusters, conv_loss, layer_loss, mlp_params
from searching import stage_of, sweep

from rso_jax import presets, rso, step
from rso_jax.method import run_stage
from rso_jax.search import joint
from rso_jax.search.joint import Block

KEY = jax.random.key(0)
PARAMS, BATCHES = mlp_params(KEY, hidden=6)["last"], clusters(KEY)
SETTINGS = {
    "visits": presets.authors_code(3),
    "fresh mini-batches": presets.paper(3),
    "blocks": presets.authors_code(3) | {"block": Block(4, joint.parabola())},
    "whole arrays": presets.authors_code(3) | {"block": Block("leaf", joint.parabola())},
}
SEARCHED = {"kernel": True, "bias": True, "scale": False}


@pytest.fixture
def optimised():
    """As users compile: the other tests leave most optimisations out."""
    without = os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") == "1"
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", without)


@pytest.mark.parametrize("name", SETTINGS)
def test_nothing_goes_to_or_from_the_host_unasked(name):
    search = rso(layer_loss, searched=SEARCHED, **SETTINGS[name])
    state, _ = step(search, KEY, search.init(KEY, PARAMS), BATCHES)
    kernel, bias = (stage_of(search, KEY, state, path, BATCHES) for path in ("kernel", "bias"))
    with jax.transfer_guard("disallow"):
        for stage in (kernel, bias):
            state, info = run_stage(search, KEY, state, stage, BATCHES)
    assert info.visits == 3
    # On a CPU the guard does not see what is read back; a sweep that read a number that has still
    # to be computed could not be traced.
    jax.eval_shape(lambda state: run_stage(search, KEY, state, kernel, BATCHES)[0], state)
    with jax.transfer_guard("disallow"), pytest.raises(Exception, match="Disallowed"):
        jnp.add(jnp.asarray(1.0), 1.0).block_until_ready()


@pytest.mark.parametrize("name", ["visits", "whole arrays"])
def test_the_memory_of_a_state_is_used_again_only_where_that_is_allowed(name):
    keeping, donating = (rso(layer_loss, donate=d, **SETTINGS[name]) for d in (False, True))
    state = keeping.init(KEY, PARAMS)
    kept, _ = sweep(keeping, KEY, state, "kernel", BATCHES)
    assert not state.params["kernel"].is_deleted()
    own = jax.tree.map(jnp.copy, state)
    donated, _ = sweep(donating, KEY, own, "kernel", BATCHES)
    assert own.params["kernel"].is_deleted()
    assert not own.params["bias"].is_deleted()
    for mine, theirs in zip(*map(jax.tree.leaves, (donated, kept)), strict=True):
        assert mine.tobytes() == theirs.tobytes()


def test_loops_copy_no_more_than_a_column(optimised):
    """What is copied inside a sweep belongs to one output channel, not to all, nor to the stack."""
    examples, size, channels = 16, 8, 8
    params = {
        "conv": {"kernel": jax.random.normal(KEY, (3, 3, channels, channels))},
        "dense": {"kernel": jax.random.normal(KEY, (channels, 1))},
    }
    images = jax.random.normal(KEY, (4, examples, size, size, channels))
    search = rso(conv_loss, **presets.authors_code(3))
    state, batches = search.init(KEY, params), {"x": images, "y": images.mean((2, 3, 4))}
    stage = stage_of(search, KEY, state, "conv/kernel", batches)
    prepared = search.prepare(KEY, state, stage, batches)
    visits = params["conv"]["kernel"].size
    compiled = (
        jax.jit(lambda state, prepared: search.advance(KEY, state, stage, prepared, 0, visits))
        .lower(state, prepared)
        .compile()
    )
    in_loops = compiled.as_text().split("\nENTRY ")[0]
    copied = re.findall(r"= \w+\[([\d,]*)\]\S* copy\(", in_loops)
    numbers = [math.prod(map(int, filter(None, shape.split(",")))) for shape in copied]
    assert max(numbers, default=0) <= examples * size * size
