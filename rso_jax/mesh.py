"""The device mesh: its two axes, what lies along each, and how arrays get there.

``data`` divides the examples of every mini-batch, ``candidate`` the candidates scored at once.
Weights, decisions and keys are the same on every device. All axes are of the automatic type:
XLA's partitioner derives the rest of the layout, and the communication, from a few constraints.
Wherever a mesh is asked for, None is one device and changes nothing.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from rso_jax.errors import UserError

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
    """Devices along an axis; 1 without a mesh."""
    return 1 if mesh is None else mesh.shape[axis]


def along(mesh: Mesh | None, tree: PyTree, *axes: Axis) -> PyTree:
    """Inside ``jit``: arrays whose leading axes lie along these axes of the mesh.

    Axes not named are not divided: ``along(mesh, tree)`` has every array whole on every device.
    """
    if mesh is None:
        return tree
    return lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec(*axes)))


def placed(mesh: Mesh | None, tree: PyTree, *axes: Axis) -> PyTree:
    """Put arrays of the host on the devices of a mesh, along these axes, as ``along`` does inside.

    Every process passes the same values and copies the parts that its own devices hold.
    """
    if mesh is None:
        return jax.device_put(tree)
    sharding = NamedSharding(mesh, PartitionSpec(*axes))

    def put(array: Any) -> jax.Array:
        if isinstance(array, jax.Array) and not array.is_fully_addressable:
            return jax.device_put(array, sharding)
        if jnp.issubdtype(getattr(array, "dtype", np.float32), jax.dtypes.prng_key):
            data = put(jax.random.key_data(array))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(array))
        host = np.asarray(array)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree)


def placed_rows(mesh: Mesh | None, tree: PyTree, rows: np.ndarray) -> PyTree:
    """Stacks of mini-batches on the devices of a mesh, every mini-batch divided along ``data``.

    Every process reads only those rows that its own devices hold.

    Args:
        mesh: devices; the default one if None.
        tree: pytree of arrays of the host, [N, ...].
        rows: which of them, [M, n], n divided by the mesh.

    Returns:
        Arrays [M, n, ...].
    """
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
        return along(mesh, (ones.sum(0), ones.sum(1), ones.sum()))

    ones = np.ones((size_of(mesh, DATA), size_of(mesh, CANDIDATE)), np.float32)
    jax.block_until_ready(sums(placed(mesh, ones, DATA, CANDIDATE)))


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
