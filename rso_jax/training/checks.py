"""What ``train`` is given, checked before any long work."""

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
from rso_jax.stacks import stack_shape
from rso_jax.tasks.task import Task
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
    """Refuse what is no stack of mini-batches for a method on this mesh.

    Arrays of JAX, which may be shared by all examples, are left to the method.

    Raises:
        UserError: no arrays, arrays of the host without the axes of a stack, another batch size
            than the task says, or arrays of JAX on other devices than the mesh's.
    """
    check_arrays("what task.batches returns", batches)
    placed = [leaf for leaf in jax.tree.leaves(batches) if isinstance(leaf, jax.Array)]
    host = jax.tree.map(lambda a: None if isinstance(a, jax.Array) else a, batches)
    if jax.tree.leaves(host) or not placed:
        found = stack_shape(host)[1]
        if found != batch_size:
            raise UserError(
                f"task.batches returns mini-batches of {found} examples, but task.batch_size says "
                f"{batch_size}; let both say the same"
            )
        check_divides(mesh, batch_size)
    devices = None if mesh is None else set(mesh.devices.flat)
    for leaf in placed:
        if devices is not None and leaf.sharding.device_set != devices:
            raise UserError(
                f"task.batches returns arrays on {len(leaf.sharding.device_set)} device(s), the "
                f"method's mesh has {len(devices)}; make both for the same mesh, or return arrays "
                "of NumPy"
            )


def check_score(task: Task, params: PyTree) -> tuple[str, ...]:
    """Which numbers of the score to show; scores the parameters once to see them.

    Raises:
        UserError: what is kept are no arrays, the score is no mapping of names to numbers, a name
            that metrics use already, or one shown that is not among them.
    """
    kept = task.keep(params)
    check_arrays("what task.keep returns", kept)
    names = tuple(score_of(task, params, kept))
    for name in task.shown:
        check_name("shown of the task", name, names)
    return tuple(task.shown) or names


def score_of(task: Task, params: PyTree, kept: PyTree) -> dict[str, float]:
    """The numbers of a task.

    Args:
        task: to be scored on.
        params: the parameters.
        kept: what the task keeps beside them.

    Raises:
        UserError: no mapping of names to numbers, or a name that metrics use already.
    """
    found: Any = task.score(params, kept)
    if not isinstance(found, Mapping):
        raise UserError(
            f"task.score returns {kind_of(found)}; let it return named numbers, such as "
            "{'test_error': 0.1}"
        )
    for name, number in found.items():
        if not isinstance(name, str) or name in OWN_NAMES:
            taken = "metrics already have" if name in OWN_NAMES else "is no string"
            raise UserError(f"task.score names a number {name!r}, which {taken}; rename it")
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
