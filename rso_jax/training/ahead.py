"""Compiling ahead: the stages of a first cycle side by side, on machines of many cores."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
from jax import Array

from rso_jax.machine import usable_cores
from rso_jax.method import Method, Stage
from rso_jax.training.interruption import StopRequest

PyTree = Any

CORES_EACH = 2
"""Of the machine for a thread: a program is traced on one core, and compiled on several."""


def compile_ahead(
    method: Method,
    key: Array,
    state: PyTree,
    stages: Sequence[Stage],
    batches: PyTree,
    *,
    stop: StopRequest,
    threads: int | None = None,
) -> None:
    """Compile what the stages will run, several at a time.

    Nothing is done where a stage at a time is no slower: by one thread, and on a mesh, where every
    process compiles what all of them run.

    Args:
        method: whose stages they are.
        key: PRNG key of the cycle.
        state: before it.
        stages: those left of it.
        batches: its mini-batches.
        stop: no other stage is begun once this is asked.
        threads: by default one for every two cores.

    Raises:
        UserError: as of ``method.prepare``.
    """
    threads = usable_cores() // CORES_EACH if threads is None else threads
    compile_one = method.compile
    if compile_one is None or method.mesh is not None or min(threads, len(stages)) < 2:
        return
    # Both hold for a thread, and what is compiled depends on them.
    wide = jax.config.jax_enable_x64  # type: ignore[attr-defined]
    precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]

    def compile_unless_stopped(stage: Stage) -> None:
        if stop.reason() is None:
            with jax.enable_x64(wide), jax.default_matmul_precision(precision):
                compile_one(key, state, stage, batches)

    with ThreadPoolExecutor(threads) as pool:
        for compiled in [pool.submit(compile_unless_stopped, stage) for stage in stages]:
            compiled.result()
