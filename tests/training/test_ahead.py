"""Compiling ahead: what it compiles is what a cycle runs, and it changes nothing."""

import logging

import jax
import numpy as np
from small_problem import NETWORK, StopAtLook, points, task

from rso_jax import presets, rso, step
from rso_jax.baselines import cosine_sgd, gradient_method
from rso_jax.networks import cross_entropy, loss_of
from rso_jax.training import StopRequest
from rso_jax.training.ahead import compile_ahead

KEY = jax.random.key(3)
SWEEPS = "_draw", "_keep", "_visit"


def new_search(**others):
    return rso(loss_of(NETWORK), **presets.authors_code(3) | others)


def begun(search):
    data = points()
    state = search.init(KEY, NETWORK.init(KEY, data.x_train[:1]))
    return state, task(data).batches(np.random.default_rng(0), 0)


def compiled_in(caplog, call):
    """What a call compiles of sweeps in its own thread, and what it returns."""
    caplog.clear()
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        found = jax.block_until_ready(call())
    said = [record.getMessage() for record in caplog.records]
    return [m for m in said if m.startswith("Finished XLA") and any(s in m for s in SWEEPS)], found


def ahead(search, state, batches, stop=None, threads=2):
    stages = search.stages(KEY, state, batches)
    compile_ahead(search, KEY, state, stages, batches, stop=stop or StopRequest(), threads=threads)


def test_a_cycle_compiles_nothing_that_was_compiled_ahead(caplog):
    plain, search = new_search(), new_search(donate=True)
    state, batches = begun(search)
    anew, expected = compiled_in(caplog, lambda: step(plain, KEY, state, batches)[0])
    ahead(search, state, batches)
    left, found = compiled_in(caplog, lambda: step(search, KEY, state, batches)[0])
    assert anew and not left
    jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)


def test_threads_compile_for_the_precision_of_who_asks(caplog):
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        loss = loss_of(NETWORK, lambda z, y: cross_entropy(z, y, precision="float64"))
        search = rso(loss, **presets.authors_code(3))
        state, batches = begun(search)
        ahead(search, state, batches)
        left, _ = compiled_in(caplog, lambda: step(search, KEY, state, batches)[0])
    assert not left


def test_one_thread_and_a_stop_leave_it_to_the_run(caplog):
    search = new_search()
    state, batches = begun(search)
    ahead(search, state, batches, threads=1)
    ahead(search, state, batches, stop=StopAtLook(0))
    assert compiled_in(caplog, lambda: step(search, KEY, state, batches)[0])[0]


def test_a_method_of_one_stage_is_left_alone():
    method = gradient_method(loss_of(NETWORK), cosine_sgd(learning_rate=0.1, steps=3))
    state, batches = begun(method)
    ahead(method, state, batches)
    assert int(step(method, KEY, state, batches)[1].accepted) == len(batches["image"])
