"""What a result was measured on: versions of the software, and the hardware."""

import os
import platform
from importlib.metadata import version
from typing import Any

import jax
from jax.sharding import Mesh

_PACKAGES = ("rso_jax", "jax", "jaxlib", "flax", "optax", "numpy")


def machine(mesh: Mesh | None = None) -> dict[str, Any]:
    """The facts about this machine that go into every result file.

    Args:
        mesh: devices in use; None for one.

    Returns:
        ``software``: versions by name; ``hardware``: ``device`` and its ``platform``, the number
        of ``devices``, the shape of the ``mesh``, and the ``cpu_cores`` that may be used.
    """
    device = jax.devices()[0]
    versions = {name: version(name) for name in _PACKAGES}
    return {
        "software": {"python": platform.python_version()} | versions,
        "hardware": {
            "device": device.device_kind,
            "platform": device.platform,
            "devices": jax.device_count(),
            "mesh": None if mesh is None else dict(mesh.shape),
            "cpu_cores": usable_cores(),
        },
    }


def usable_cores() -> int:
    """How many processors the process may use: not all where it is confined, as by ``taskset``."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
