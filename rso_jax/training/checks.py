"""What ``train`` is given, checked before any long work."""

import os
from collections.abc import Mapping
from numbers import Real
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from rso_jax.arrays import check_arrays, kind_of
from rso_jax.errors import UserError, check_name, whole_number
from rso_jax.mesh import check_divides
from rso_jax.method import check_method
from rso_jax.stacks import check_stack, stack_shape
from rso_jax.tasks.task import Task
from rso_jax.training.interruption import StopRequest
from rso_jax.training.metrics import OWN_NAMES

PyTree = Any


def check_parts(method: Any, task: Any) -> None:
    """Refuse what is no method and no task.

    Raises:
        UserError: what it is, and what to pass.
    """
    check_method(method)
    if not isinstance(task, Task):
        raise UserError(
            f"task is {kind_of(task)}, not a Task; pass rso_jax.tasks.classification(network, "
            "data, batch_size=100), for instance, or a rso_jax.tasks.Task of your own"
        )


def check_surroundings(folder: Any, stop: Any, reporter: Any) -> None:
    """Refuse a folder, a request to stop or a reporter of another kind; None is none of them.

    Raises:
        UserError: what it is, and what to pass.
    """
    if folder is not None and not isinstance(folder, str | os.PathLike):
        raise UserError(f"folder is {kind_of(folder)}; pass a path")
    if stop is not None and not isinstance(stop, StopRequest):
        raise UserError(
            f"stop is {kind_of(stop)}, not a StopRequest; pass StopRequest(max_minutes=30), for "
            "instance, or what stop_on_signals() gives"
        )
    if reporter is not None:
        check_reporter(reporter)


def check_reporter(reporter: Any) -> None:
    """Refuse what is no reporter.

    Raises:
        UserError: what it is, and what to pass.
    """
    told = ("begin", "visits", "cycle", "end")
    if isinstance(reporter, type) or not all(callable(getattr(reporter, n, None)) for n in told):
        raise UserError(
            f"reporter is {kind_of(reporter)}, not a Reporter; pass ConsoleReporter(), or an "
            f"object with the methods {', '.join(told)}"
        )


def check_batch_sizes(task: Task, cycles: int) -> tuple[int, ...]:
    """The batch size of every cycle.

    Raises:
        UserError: one that is no whole number above 0, or that the task itself refuses.
    """
    return tuple(
        whole_number(f"batch_size of cycle {cycle}", task.batch_size(cycle), 1)
        for cycle in range(cycles)
    )


def check_batches(batches: PyTree, batch_size: int, mesh: Mesh | None) -> None:
    """Refuse what holds no stack of mini-batches for a method on this mesh.

    Which of the arrays all examples may share, the method knows; it refuses others without the
    axes of a stack.

    Raises:
        UserError: no arrays, arrays of the host and none of the batch size that the task says, or
            arrays of JAX on other devices than the mesh's.
    """
    check_stack("what task.batches returns", batches)
    placed = [leaf for leaf in jax.tree.leaves(batches) if isinstance(leaf, jax.Array)]
    host = [leaf for leaf in jax.tree.leaves(batches) if not isinstance(leaf, jax.Array)]
    if not any(is_stack(leaf, batch_size) for leaf in (*host, *placed)) and (host or not placed):
        _refuse_sizes(batches, batch_size)
    if any(is_stack(leaf, batch_size) for leaf in host):
        check_divides(mesh, batch_size)
    devices = None if mesh is None else set(mesh.devices.flat)
    for leaf in placed:
        if devices is not None and leaf.sharding.device_set != devices:
            raise UserError(
                f"task.batches returns arrays on {len(leaf.sharding.device_set)} device(s), the "
                f"method's mesh has {len(devices)}; make both for the same mesh, or return arrays "
                "of NumPy"
            )


def is_stack(array: Any, batch_size: int) -> bool:
    """Whether an array has the axes [mini-batches, batch size, ...], with this batch size."""
    shape = np.shape(array)
    return len(shape) >= 2 and shape[1] == batch_size


def _refuse_sizes(batches: PyTree, batch_size: int) -> None:
    """Say what batches have in place of mini-batches of the size that the task says."""
    sizes = {np.shape(leaf)[1] for leaf in jax.tree.leaves(batches) if np.ndim(leaf) >= 2}
    if not sizes:
        stack_shape(batches)
    raise UserError(
        f"task.batches returns mini-batches of {' or '.join(map(str, sorted(sizes)))} examples, "
        f"but task.batch_size says {batch_size}; let both say the same"
    )


def check_score(task: Task, params: PyTree) -> tuple[str, ...]:
    """Which numbers of the score to show; where the task does not name them, it is scored once.

    Raises:
        UserError: what is kept are no arrays, the score is no mapping of names to numbers, a name
            that metrics use already, or one shown that is not among them.
    """
    kept = task.keep(params)
    check_arrays("what task.keep returns", kept)
    for name in task.numbers:
        _check_number_name(name, "numbers of the task")
    names = tuple(task.numbers) or tuple(score_of(task, params, kept))
    for name in task.shown:
        check_name("shown of the task", name, names)
    return tuple(task.shown) or names


def _check_number_name(name: Any, where: str) -> None:
    if not isinstance(name, str) or name in OWN_NAMES:
        taken = "metrics already have" if name in OWN_NAMES else "is no string"
        raise UserError(f"{where} names a number {name!r}, which {taken}; rename it")


def score_of(task: Task, params: PyTree, kept: PyTree) -> dict[str, float]:
    """The numbers of a task.

    Args:
        task: to be scored on.
        params: the parameters.
        kept: what the task keeps beside them.

    Raises:
        UserError: no mapping of names to numbers, other names than the task says, or one that
            metrics use already.
    """
    found: Any = task.score(params, kept)
    if not isinstance(found, Mapping):
        raise UserError(
            f"task.score returns {kind_of(found)}; let it return named numbers, such as "
            "{'test_error': 0.1}"
        )
    if task.numbers and tuple(found) != tuple(task.numbers):
        raise UserError(
            f"task.score returns {', '.join(map(str, found))}, but task.numbers says "
            f"{', '.join(task.numbers)}; let both say the same"
        )
    for name, number in found.items():
        _check_number_name(name, "task.score")
        if not _is_number(number):
            raise UserError(
                f"task.score gives {kind_of(number)} as {name!r}; let every value be one number"
            )
    return {name: float(number) for name, number in found.items()}


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, np.ndarray | jax.Array):
        return value.shape == () and bool(jax.numpy.issubdtype(value.dtype, jax.numpy.number))
    return isinstance(value, Real)
