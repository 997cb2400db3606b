"""``rso doctor``: checks a machine, and says what to do."""

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from rso_jax.cli.compiled import compiled_folder
from rso_jax.cli.devices import find_devices, say_devices
from rso_jax.cli.flags import OptionalPath
from rso_jax.cli.methods.rso import DEFAULT_MEMORY_GIB
from rso_jax.cli.quantities import say_bytes
from rso_jax.data.locations import VERSIONS, cache_folder, data_folder, find_prepared
from rso_jax.errors import UserError

GIB = 2**30
LEAST_MEMORY, LEAST_DISK = GIB // 4, GIB // 20
"""Below them no training is to be expected."""
AMPLE_DISK = 2 * GIB
EXTRAS = {"evolution": "evosax", "rl": "gymnasium", "tensorboard": "tensorboardX"}
"""Packages that an extra installs."""
_NVIDIA = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidia0"))


@dataclass(frozen=True)
class Doctor:
    """Check this machine, and say what to do where something is missing.

    Exit status 1 if something stops training.
    """

    out: Path = Path("runs")
    """Folder that runs are to be written to."""
    data_dir: OptionalPath = None
    """Folder of the data sets; see `rso data list`."""


class Finding(NamedTuple):
    """What a check came to."""

    verdict: Literal["ok", "note", "stop"]
    """``stop`` of what stops training, ``note`` of what one may want to mend."""
    about: str
    said: str


def run_doctor(config: Doctor) -> int:
    """Print a line for each check; exit status 1 if something stops training."""
    stops = False
    for finding in examine(config):
        print(f"{finding.verdict:<4}  {finding.about:<17}  {finding.said}", flush=True)
        stops |= finding.verdict == "stop"
    return int(stops)


def examine(config: Doctor) -> Iterator[Finding]:
    """All checks, each made when its turn comes."""
    yield check_devices()
    yield judge_memory(*free_memory())
    yield check_folder("runs", config.out, "pass another --out, or work in another folder", True)
    for about, folder, effect in (
        ("decoded images", cache_folder(), "images are decoded anew for every run"),
        (
            "compiled programs",
            compiled_folder() or cache_folder() / "compiled",
            "every run compiles anew",
        ),
    ):
        remedy = f"{effect}; set RSO_CACHE_DIR to a folder that can be written"
        yield check_folder(about, folder, remedy, False)
    for name in VERSIONS:
        yield check_data_set(name, config.data_dir)
    yield check_extras()


def check_devices() -> Finding:
    """That JAX finds devices and each of them computes, and that it overlooks none."""
    devices, why = find_devices()
    remedy = "install the extra for the accelerator and its driver, or set JAX_PLATFORMS=cpu"
    if not devices:
        return Finding("stop", "devices", f"{why}; {remedy}")
    try:
        for device in devices:
            jax.block_until_ready(jnp.arange(3, device=device) + 1)
    except Exception as error:  # of drivers there are many kinds
        lines = str(error).splitlines() or [type(error).__name__]
        return Finding("stop", "devices", f"{device.device_kind} fails ({lines[0]}); {remedy}")
    found = say_devices(devices)
    overlooked = any(path.exists() for path in _NVIDIA)
    if overlooked and all(device.platform == "cpu" for device in devices):
        remedy = "install the extra rso_jax[cuda], and leave JAX_PLATFORMS unset"
        return Finding("note", "devices", f"{found}, though there is an NVIDIA GPU: {remedy}")
    return Finding("ok", "devices", found)


def free_memory() -> tuple[int | None, str]:
    """Bytes that are free where losses are computed, and of what; None where it is not said."""
    for device in find_devices()[0][:1]:
        stats = device.memory_stats() or {}
        if "bytes_limit" in stats:
            return stats["bytes_limit"] - stats.get("bytes_in_use", 0), device.device_kind
    free = []
    with suppress(OSError, LookupError, ValueError):
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free.append(1024 * int(lines["MemAvailable"].split()[0]))
    with suppress(OSError, ValueError):  # of a container
        limit, used = (Path(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
        free.append(int(limit.read_text()) - int(used.read_text()))
    return min(free, default=None), "this machine"


def judge_memory(free: int | None, where: str) -> Finding:
    """Whether the memory does for what a search takes by default."""
    if free is None:
        return Finding("ok", "memory", f"{where} does not say how much is free")
    said = f"{say_bytes(free)} free of {where}"
    if free >= DEFAULT_MEMORY_GIB * GIB:
        return Finding("ok", "memory", said)
    if free < LEAST_MEMORY:
        return Finding("stop", "memory", f"{said}: end other programs, or use another machine")
    remedy = f"pass --memory-gib {free / 2 / GIB:.1g}"
    return Finding(
        "note",
        "memory",
        f"{said}, and a search may take {DEFAULT_MEMORY_GIB:g} for intermediate results: {remedy}",
    )


def check_folder(about: str, folder: Path, remedy: str, needed: bool) -> Finding:
    """That a folder can be written, or made, on a disk with some space.

    Args:
        about: what lies in it.
        folder: need not exist.
        remedy: what to do, or what follows, where it cannot be written.
        needed: whether training stops without.
    """
    nearest = folder.absolute()
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    bad: Literal["stop", "note"] = "stop" if needed else "note"
    try:
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(b"1")
        free = shutil.disk_usage(nearest).free
    except OSError as error:
        return Finding(bad, about, f"{folder} cannot be written ({error.strerror}): {remedy}")
    return judge_disk(about, folder, free, bad)


def judge_disk(about: str, folder: Path, free: int, bad: Literal["stop", "note"]) -> Finding:
    """Whether so many free bytes do for a folder."""
    said = f"{folder}, {say_bytes(free)} free"
    if free >= AMPLE_DISK:
        return Finding("ok", about, said)
    verdict = bad if free < LEAST_DISK else "note"
    return Finding(verdict, about, f"{said}: make some space")


def check_data_set(name: str, data_dir: Path | None) -> Finding:
    """That a data set is prepared; none stops training, since digits are always there."""
    try:
        return Finding("ok", name, str(find_prepared(name, data_folder(data_dir)).folder))
    except UserError as error:
        return Finding("note", name, str(error))


def check_extras() -> Finding:
    """Which extras are installed."""
    missing = [extra for extra, at in EXTRAS.items() if importlib.util.find_spec(at) is None]
    if not missing:
        return Finding("ok", "extras", ", ".join(EXTRAS))
    return Finding("note", "extras", f"to have all: install rso_jax[{','.join(missing)}]")
