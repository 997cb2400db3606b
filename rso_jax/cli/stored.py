"""What a run's config.json says: settings, data, devices, versions; written and read again."""

import contextlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rso_jax.cli.assemble import Assembly
from rso_jax.cli.devices import choose_mesh
from rso_jax.cli.running import TENSORBOARD
from rso_jax.cli.same_data import is_file
from rso_jax.cli.settings import OPERATIONAL, Train, flatten, from_json, settings_of, to_json
from rso_jax.errors import UserError
from rso_jax.machine import machine
from rso_jax.training import run_folder


def stored_settings(folder: Path) -> Train[Any]:
    """The settings of the run in a folder, where it found its data, and whether it is logged.

    Raises:
        UserError: no run there.
    """
    config = run_folder.read_config(folder)
    settings = read_settings(config, folder)
    data_dir = config.get("data_dir")
    found = None if data_dir is None else Path(data_dir)
    log = TENSORBOARD if (folder / run_folder.EVENTS).is_dir() else None
    return settings_of(flatten(settings) | {"data_dir": found, "log": log})


def read_settings(config: dict[str, Any], folder: Path) -> Train[Any]:
    """The settings in the config.json of a folder.

    Raises:
        UserError: settings that this version does not have, and, as far as the file says, which
            version wrote them.
    """
    try:
        return from_json(config.get("settings", {}), folder / run_folder.CONFIG)
    except UserError as error:
        by = config.get("software", {}).get("rso_jax")
        here = version("rso_jax")
        if by == here:
            raise
        wrote = f"rso_jax {by} wrote it" if by else "another rso_jax wrote it"
        raise UserError(f"{error}; {wrote}, this is {here}") from None


def describe_run(assembly: Assembly) -> dict[str, Any]:
    """The config.json of a run."""
    values = assembly.values()
    settings = to_json(values)
    if is_file(values["dataset"]):  # to be found from any working directory
        file = Path(values["dataset"]).expanduser()
        settings["dataset"] = str(file.parent.resolve() / file.name)  # a link keeps its name
    if settings["start"] is not None:  # likewise
        settings["start"] = str(Path(settings["start"]).expanduser().resolve())
    return {
        "settings": settings,
        "data": assembly.posed.data_summary,
        "data_dir": None if values["data_dir"] is None else str(values["data_dir"]),
        "memory_gib": values.get("memory_gib"),
        "mesh": values["mesh"],
        "conventions": assembly.settings.method.conventions._asdict(),
        **machine(assembly.mesh),
    }


def list_facts(assembly: Assembly) -> dict[str, Any]:
    """What must be the same in every process of a run."""
    values = assembly.values()
    return to_json(values) | {
        "dataset": assembly.posed.data.name,  # a file may lie elsewhere on another machine
        "data": assembly.posed.data_summary,
        "mesh": values["mesh"],
        "memory_gib": values.get("memory_gib"),
        "jax": version("jax"),
        "rso_jax": version("rso_jax"),
    }


def settings_to_go_on(given: Train[Any], begun: dict[str, Any], folder: Path) -> Train[Any]:
    """A run's own settings, where and how long as it is told now.

    Args:
        given: as told now.
        begun: the config.json of the run.
        folder: of the run.
    """
    stored, now = read_settings(begun, folder), flatten(given)
    mine = flatten(stored)
    found = {name: now[name] for name in OPERATIONAL if name in now and name in mine}
    if is_file(now["dataset"]) and is_file(mine["dataset"]):
        found["dataset"] = now["dataset"]
    if "memory_gib" in mine and found.get("memory_gib") is None:
        found["memory_gib"] = begun.get("memory_gib")
    if now["mesh"] is None and begun.get("mesh") is not None:
        with contextlib.suppress(UserError):  # other devices: the default mesh
            choose_mesh(begun["mesh"], mine["batch_size"])
            found["mesh"] = begun["mesh"]
    return settings_of(mine | found)


def describe_differences(assembly: Assembly, begun: dict[str, Any]) -> list[str]:
    """What a run was started with that rounds otherwise than what it goes on with."""
    values, differing = assembly.values(), []
    if (
        "memory_gib" in values
        and begun.get("memory_gib", values["memory_gib"]) != values["memory_gib"]
    ):
        differing.append(f"--memory-gib {begun['memory_gib']:g}, not {values['memory_gib']:g}")
    mesh = machine(assembly.mesh)["hardware"]["mesh"]
    before = begun.get("hardware", {}).get("mesh", mesh)
    if before != mesh:
        reason = ""
        if begun.get("mesh") is not None and values["mesh"] is None:
            reason = " (the devices here do not make that mesh)"
        differing.append(f"{_name_devices(before)}, not {_name_devices(mesh)}{reason}")
    return differing


def _name_devices(mesh: dict[str, int] | None) -> str:
    return "one device" if mesh is None else ",".join(f"{axis}={n}" for axis, n in mesh.items())
