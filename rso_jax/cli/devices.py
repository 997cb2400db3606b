"""``--mesh`` and its kin: which devices and processes a run shares its work among."""

import os
import re
from collections import Counter
from collections.abc import Iterable

import jax
from jax.sharding import Mesh

from rso_jax.errors import UserError
from rso_jax.mesh import CANDIDATE, DATA, check_divides, make_mesh

_AXES = (DATA, CANDIDATE)


def parse_mesh(text: str) -> dict[str, int]:
    """Sizes of the axes, from ``data=2,candidate=3``.

    Raises:
        UserError: anything else.
    """
    sizes: dict[str, int] = {}
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\w+)\s*=\s*(\d+)\s*", part)
        if found is None or found[1] not in _AXES or found[1] in sizes or not int(found[2]):
            raise UserError(
                f"--mesh is {text}; write data=N, candidate=N or both, as in data=2,candidate=3"
            )
        sizes[found[1]] = int(found[2])
    return sizes


def choose_mesh(text: str | None, batch_sizes: Iterable[int]) -> Mesh | None:
    """The mesh asked for; all devices on ``data`` by default, as far as they divide the batches.

    Args:
        text: value of ``--mesh``; None for the default.
        batch_sizes: of all mini-batches of the run.

    Returns:
        None where one device does it all.

    Raises:
        UserError: a mesh that these devices cannot make, or that a batch size does not fit.
    """
    sizes = list(batch_sizes)
    if text is None:
        parts = jax.device_count()
        # Devices of other processes must not be left out: there it is for the batch size to fit.
        while jax.process_count() == 1 and any(size % parts for size in sizes):
            parts -= 1
        mesh = make_mesh(parts)
    else:
        wanted = parse_mesh(text)
        mesh = make_mesh(wanted.get(DATA), wanted.get(CANDIDATE, 1))
    for size in sizes:
        check_divides(mesh, size)
    return None if mesh.size == 1 else mesh


def describe(mesh: Mesh | None) -> str:
    """For people, where there is something to tell; an empty string otherwise."""
    if mesh is None:
        used, axes = 1, ""
    else:
        used = mesh.size
        axes = ", ".join(f"{axis}={mesh.shape[axis]}" for axis in _AXES if mesh.shape[axis] > 1)
    there = jax.device_count()
    if there == 1:
        return ""
    kind = jax.devices()[0].device_kind
    count = f"{used} devices" if used == there else f"{used} of {there} devices"
    places = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    return f"{count} ({kind}){places}" + (f": {axes}" if axes else "")


def find_devices() -> tuple[list[jax.Device], str]:
    """The devices of this process that JAX can use, or none and why."""
    try:
        return jax.local_devices(), ""
    except Exception as error:  # of drivers there are many kinds
        asked = os.environ.get("JAX_PLATFORMS")
        where = f" with JAX_PLATFORMS={asked}" if asked else ""
        lines = str(error).splitlines() or [type(error).__name__]
        return [], f"JAX finds none{where} ({lines[0]})"


def say_devices(devices: Iterable[jax.Device]) -> str:
    """Devices by kind, as ``4 x NVIDIA H100 (gpu)``."""
    kinds = Counter(
        device.device_kind
        if device.device_kind == device.platform
        else f"{device.device_kind} ({device.platform})"
        for device in devices
    )
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
