"""The device mesh: its two axes, what lies along each, and how arrays get there.

``data`` divides the examples of every mini-batch, ``candidate`` the candidates scored at once.
Weights, decisions and keys are the same on every device. All axes are of the automatic type:
XLA's partitioner derives the rest of the layout, and the communication, from a few constraints.
Wherever a mesh is asked for, None is one device and changes nothing.
"""

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from rso_jax.arrays import check_arrays, weak_as
from rso_jax.errors import UserError, check_name

PyTree = Any

DATA, CANDIDATE = "data", "candidate"
Axis = str | tuple[str, ...] | None


def make_mesh(
    data: int | None = None, candidate: int = 1, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """A mesh of all devices, or of the first ``data * candidate``.

    Args:
        data: parts that a mini-batch is divided into; by default as many as there are devices for.
        candidate: candidates scored side by side, each by ``data`` devices.
        devices: to use; those of all processes by default.

    Raises:
        UserError: sizes below 1, more devices than there are, or a process left without any.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes = [candidate] if data is None else [data, candidate]
    if not all(isinstance(size, Integral) and not isinstance(size, bool) for size in sizes):
        raise UserError(f"mesh data={data!r},candidate={candidate!r}: both must be whole numbers")
    if not all(isinstance(device, jax.Device) for device in devices) or not devices:
        raise UserError("devices must be some of jax.devices(), at least one")
    if candidate < 1 or (data is not None and data < 1):
        raise UserError(f"mesh data={data},candidate={candidate}: both must be at least 1")
    if data is None:
        data = max(len(devices) // candidate, 1)
    if data * candidate > len(devices):
        raise UserError(
            f"mesh data={data},candidate={candidate} needs {data * candidate} devices; there "
            f"{'is' if len(devices) == 1 else 'are'} {len(devices)}"
        )
    used = devices[: data * candidate]
    processes = {device.process_index for device in devices}
    if idle := processes - {device.process_index for device in used}:
        raise UserError(
            f"mesh data={data},candidate={candidate} uses {len(used)} of {len(devices)} devices "
            f"and none of process {', '.join(map(str, sorted(idle)))}; use all {len(devices)}"
        )
    shape = data, candidate
    automatic = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh(shape, (DATA, CANDIDATE), axis_types=automatic, devices=used)


def size_of(mesh: Mesh | None, axis: str) -> int:
    """Devices along an axis; 1 without a mesh.

    Raises:
        UserError: an axis that there is not.
    """
    check_name("axis of the mesh", axis, (DATA, CANDIDATE))
    return 1 if mesh is None else mesh.shape[axis]


def constrain(mesh: Mesh | None, tree: PyTree, *axes: Axis) -> PyTree:
    """Inside ``jit``: arrays whose leading axes lie along these axes of the mesh.

    Axes not named are not divided: ``constrain(mesh, tree)`` has every array whole on every device.

    Raises:
        UserError: an axis that there is not.
    """
    if mesh is None:
        return tree
    _check_axes(axes)
    return lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec(*axes)))


def place(mesh: Mesh | None, tree: PyTree, *axes: Axis) -> PyTree:
    """Put arrays of the host on the devices of a mesh, along these axes.

    Every process passes the same values and copies the parts that its own devices hold. PRNG keys
    and weak types stay what they are.

    Raises:
        UserError: leaves that are no arrays, or whose leading axes the mesh does not divide.
    """
    _check_axes(axes)
    check_arrays("tree", tree)
    if mesh is None:
        return jax.device_put(tree)
    sharding = NamedSharding(mesh, PartitionSpec(*axes))

    def put(array: Any) -> jax.Array:
        if isinstance(array, jax.Array) and not array.is_fully_addressable:
            return jax.device_put(array, sharding)
        _check_parts(mesh, np.shape(array), axes)
        if isinstance(array, jax.Array) and jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            of_keys = put(jax.random.key_data(array))
            return jax.random.wrap_key_data(of_keys, impl=jax.random.key_impl(array))
        host = np.asarray(array)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return weak_as(tree, jax.tree.map(put, tree))


def _check_axes(axes: Sequence[Axis]) -> None:
    for axis in axes:
        for name in axis if isinstance(axis, tuple) else (axis,):
            if name is not None:
                check_name("axis of the mesh", name, (DATA, CANDIDATE))


def _check_parts(mesh: Mesh, shape: tuple[int, ...], axes: Sequence[Axis]) -> None:
    """That the mesh divides an array's leading axes evenly."""
    for i, axis in enumerate(axes):
        names = axis if isinstance(axis, tuple) else (axis,)
        parts = math.prod(size_of(mesh, name) for name in names if name is not None)
        if parts > 1 and (i >= len(shape) or shape[i] % parts):
            raise UserError(
                f"an array of shape {shape} cannot be divided into {parts} parts along axis {i}; "
                "use a multiple of them, or another mesh"
            )


def place_rows(mesh: Mesh | None, tree: PyTree, rows: np.ndarray) -> PyTree:
    """Stacks of mini-batches on the devices of a mesh, every mini-batch divided along ``data``.

    Every process reads only those rows that its own devices hold.

    Args:
        mesh: devices; the default one if None.
        tree: pytree of arrays of the host, [N, ...].
        rows: which of them, [M, n], n divided by the mesh.

    Returns:
        Arrays [M, n, ...].

    Raises:
        UserError: leaves that are no arrays, or rows that they do not have.
    """
    check_arrays("tree", tree)
    rows = np.asarray(rows)
    if rows.ndim != 2 or not np.issubdtype(rows.dtype, np.integer):
        raise UserError(
            f"rows has shape {rows.shape} and type {rows.dtype}; pass integers [mini-batches, "
            "batch size]"
        )
    count = min((np.shape(a)[0] if np.ndim(a) else 0 for a in jax.tree.leaves(tree)), default=0)
    if rows.size and not 0 <= rows.min() <= rows.max() < count:
        raise UserError(f"rows go from {rows.min()} to {rows.max()}; there are {count} examples")
    check_divides(mesh, rows.shape[1])
    if mesh is None:
        return jax.device_put(jax.tree.map(lambda array: array[rows], tree))
    sharding = NamedSharding(mesh, PartitionSpec(None, DATA))

    def put(array: np.ndarray) -> jax.Array:
        shape = (*rows.shape, *array.shape[1:])

        def part(index: Any) -> np.ndarray:
            return array[rows[index[:2]]]

        return jax.make_array_from_callback(shape, sharding, part)

    return jax.tree.map(put, tree)


def connect(mesh: Mesh | None) -> None:
    """Let the devices along each axis meet: to be called by all processes at about the same time.

    Otherwise they first do in a program that some may have compiled long before others.
    """
    if mesh is None:
        return

    @jax.jit
    def sums(ones: jax.Array) -> PyTree:
        return constrain(mesh, (ones.sum(0), ones.sum(1), ones.sum()))

    ones = np.ones((size_of(mesh, DATA), size_of(mesh, CANDIDATE)), np.float32)
    jax.block_until_ready(sums(place(mesh, ones, DATA, CANDIDATE)))


def check_divides(mesh: Mesh | None, batch_size: int) -> None:
    """Refuse a mini-batch that the mesh does not divide.

    Raises:
        UserError: the size, and the nearest ones that would do.
    """
    parts = size_of(mesh, DATA)
    if batch_size % parts:
        below = batch_size // parts * parts
        near = f"{below} or {below + parts}" if below else f"{parts}"
        raise UserError(
            f"a mini-batch of {batch_size} examples cannot be divided among data={parts} devices; "
            f"use {near} examples, or a mesh with another data axis"
        )


def check_candidates(mesh: Mesh | None, candidates: int) -> None:
    """Refuse a candidate axis of which a part would always idle.

    Raises:
        UserError: the size of the axis, and the largest that would do.
    """
    parts = size_of(mesh, CANDIDATE)
    if parts > candidates:
        raise UserError(
            f"the mesh has candidate={parts} but only {candidates} candidates are scored at once; "
            f"use candidate={candidates} or less, and more devices on data"
        )
