"""What a run draws follows from its seed and the cycle, by the functions of one module."""

import dataclasses

import jax
import numpy as np
from small_problem import StopAtLook, search, task

from rso_jax.training import keys, train


def data(key):
    return jax.random.key_data(key).tolist()


def watched(drawn):
    """A search and a task that note which keys they are given, and a draw of each generator."""
    plain, method = task(), search()

    def note(kind, key):
        drawn.append((kind, data(key) if isinstance(key, jax.Array) else key.integers(1 << 60)))

    def init(key):
        note("parameters", key)
        return plain.init(key)

    def batches(rng, cycle):
        note("generator", rng)
        return plain.batches(np.random.default_rng(0), cycle)

    def begin(key, params):
        note("method", key)
        return method.init(key, params)

    def stages(key, state, batches):
        note("cycle", key)
        return method.stages(key, state, batches)

    return (
        dataclasses.replace(method, init=begin, stages=stages),
        dataclasses.replace(plain, init=init, batches=batches),
    )


def expected(seed, cycles):
    yield "parameters", data(keys.of_initial_parameters(seed))
    yield "method", data(keys.of_method(seed))
    for cycle in cycles:
        yield "generator", keys.generator(seed, cycle).integers(1 << 60)
        yield "cycle", data(keys.of_cycle(seed, cycle))


def test_a_run_draws_by_the_keys_of_its_seed(tmp_path):
    drawn = []
    train(*watched(drawn), cycles=2, seed=7, folder=tmp_path, stop=StopAtLook(5))
    assert drawn == list(expected(7, [0]))
    drawn.clear()
    train(*watched(drawn), cycles=2, seed=7, folder=tmp_path, resume=True)
    assert drawn == list(expected(7, [0, 1]))


def test_all_keys_differ():
    found = [
        data(key)
        for seed in (0, 1)
        for key in (
            keys.of_initial_parameters(seed),
            keys.of_method(seed),
            *(keys.of_cycle(seed, cycle) for cycle in range(3)),
        )
    ]
    assert len({tuple(key) for key in found}) == len(found)
