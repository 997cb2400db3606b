"""Check a built release: what it holds, and that it works where nothing else is.

``make dist`` runs this after the build. The wheel is installed into a new environment of each
Python that is there, with the pinned dependencies; there, outside the checkout, it trains on the
digits and runs the code of the README.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from archives import FILES, TOP, relative_links

UV = Path(sys.executable).parent / "uv"

IN_WHEEL = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt")
"""Beside the package."""
IN_SDIST = (
    *FILES,
    "PKG-INFO",
    *(
        f"rso_jax.egg-info/{name}"
        for name in (
            *("PKG-INFO", "SOURCES.txt", "dependency_links.txt", "entry_points.txt"),
            *("requires.txt", "top_level.txt"),
        )
    ),
)
"""Beside the package."""


def main(tag: str, pythons: list[str]) -> None:
    """Check what is in dist/.

    Args:
        tag: under which it is released, as v0.1.0; empty if it is not.
        pythons: versions of Python to install for, as 3.11; those that are not there are named
            and left out, but one must be.
    """
    (wheel,), (sdist,) = (TOP / "dist").glob("*.whl"), (TOP / "dist").glob("*.tar.gz")
    check_version(wheel.name.split("-")[1], tag)
    check_contents(wheel, sdist)
    there = {version: found for version in pythons if (found := find_python(version))}
    for version in pythons:
        if version not in there:
            print(f"Python {version} is not there: left out")
    if not there:
        sys.exit(f"none of Python {', '.join(pythons)} is there to install the wheel for")
    for version, python in there.items():
        with tempfile.TemporaryDirectory() as folder:
            try_out(wheel, version, python, Path(folder))


def check_version(version: str, tag: str) -> None:
    """Refuse a version that the files which state it do not agree on, nor its tag.

    Args:
        version: of the wheel, which is that of setup.cfg.
        tag: as of ``main``.
    """
    stated = {
        "rso_jax/__init__.py": f'__version__ = "{version}"',
        "CITATION.cff": f"version: {version}",
    }
    for name, line in stated.items():
        if line not in (TOP / name).read_text().splitlines():
            sys.exit(f"{name} does not say {line}, as setup.cfg does; let both say the same")
    if tag and tag != f"v{version}":
        sys.exit(f"the tag is {tag}, the version {version}; the tag must be v{version}")


def check_contents(wheel: Path, sdist: Path) -> None:
    """Refuse archives of anything else than the package as it is tracked and the two lists.

    Refuse relative links as well: what an index shows of them leads nowhere.
    """
    listed = subprocess.run(
        ["git", "ls-files", "rso_jax"], cwd=TOP, check=True, capture_output=True, text=True
    )
    package = set(listed.stdout.splitlines())
    with zipfile.ZipFile(wheel) as archive:
        about = "-".join(wheel.name.split("-")[:2]) + ".dist-info"
        compare(wheel, set(archive.namelist()), package | {f"{about}/{name}" for name in IN_WHEEL})
        description = archive.read(f"{about}/METADATA").decode()
    with tarfile.open(sdist) as archive:
        files = {member.name.partition("/")[2] for member in archive if member.isfile()}
        compare(sdist, files, package | set(IN_SDIST))
    if links := relative_links(description):
        sys.exit(f"{wheel.name} describes itself by links that are relative: {', '.join(links)}")


def compare(archive: Path, found: set[str], wanted: set[str]) -> None:
    """Exit with what is missing from an archive and what it holds besides."""
    wrong = [f"lacks {name}" for name in sorted(wanted - found)]
    wrong += [f"holds {name}, which is not on the list" for name in sorted(found - wanted)]
    if wrong:
        sys.exit("\n".join(f"{archive.name} {what}" for what in wrong))
    print(f"{archive.name}: {len(found)} files, as listed")


def find_python(version: str) -> str | None:
    """The interpreter of a version, if there is one that starts."""
    path = shutil.which(f"python{version}")
    if path is None:
        return None
    started = subprocess.run(
        [path, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True
    )
    return started.stdout.strip() if started.returncode == 0 else None


def try_out(wheel: Path, version: str, python: str, folder: Path) -> None:
    """Install the wheel and use it as its first user would, in an empty folder."""
    print(f"Python {version}: a new environment")
    environment, pins = folder / "environment", TOP / "constraints" / f"python{version}.txt"
    run(folder, UV, "venv", "--quiet", "--python", python, environment)
    run(
        *(folder, UV, "pip", "install", "--quiet", "--python", environment / "bin" / "python"),
        *("--constraint", pins, wheel),
    )
    run(folder, environment / "bin" / "rso", "train", "--dataset", "digits")
    code = "\n".join(blocks("python", (TOP / "README.md").read_text()))
    (folder / "readme.py").write_text(code)
    run(folder, environment / "bin" / "python", "readme.py")


def blocks(language: str, text: str) -> list[str]:
    """Blocks of code of a text in Markdown."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def run(folder: Path, *command: str | Path) -> None:
    """Run a command in a folder, away from the checkout; exit if it fails."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = subprocess.run(list(map(str, command)), cwd=folder, env=clean).returncode
    if code:
        sys.exit(f"{' '.join(map(str, command))}: exit status {code}")


if __name__ == "__main__":
    main(os.environ.get("TAG", ""), sys.argv[1:])
