"""``rso --version``: what runs, on what, and where it keeps things."""

import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import rso_jax
from rso_jax.cli.compiled import compiled_folder
from rso_jax.cli.devices import find_devices, say_devices
from rso_jax.cli.table import print_table
from rso_jax.data.locations import cache_folder, data_folder


@dataclass(frozen=True)
class Version:
    """Say which versions run, on which devices, and where things are."""


def run_version(config: Version) -> int:
    """Print the version and a line for each of the rest; exit status 0."""
    devices, why = find_devices()
    print(f"rso_jax {rso_jax.__version__}")
    rows = [
        ("Python", platform.python_version()),
        *((name, version(name)) for name in ("jax", "jaxlib")),
        ("devices", say_devices(devices) if devices else why),
        ("package", str(Path(rso_jax.__file__).parent)),
        ("data sets", str(data_folder())),
        ("decoded images", str(cache_folder())),
        ("compiled programs", str(compiled_folder() or "not kept")),
    ]
    print_table(rows)
    return 0
