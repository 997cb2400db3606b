"""Go the way of a newcomer, from the wheel to the documentation, and time it.

``make newcomer`` runs this after the build. Everything happens in a new folder outside the
checkout, with an environment of the Python that runs this and with empty caches; what a newcomer
would type is taken from the README and from docs/how_to/own_data.md. The first command that fails
ends it, with what it printed.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from archives import TOP
from check import blocks
from terminal import type_into

LIMIT = 600
"""Seconds that the whole way may take."""
FORGOTTEN = (
    *("JAX_COMPILATION_CACHE_DIR", "PYTHONPATH", "RSO_CACHE_DIR", "VIRTUAL_ENV"),
    *("MAKEFLAGS", "MAKELEVEL", "MFLAGS"),  # a make within a make would take the outer one's
)
"""Variables that a newcomer has not set."""
COMMON_COLOURS = 10
"""Colours that a plot of two curves has at the least: paper, frames, text, lines, their edges."""
LOOK_AT_PICTURE = """
import sys, numpy as np, matplotlib.image
picture = matplotlib.image.imread(sys.argv[1])
print(len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)))
"""
READ_EVENTS = """
import sys, json, pathlib
sys.path.insert(0, sys.argv[1])
from event_files import scalars_of
run = pathlib.Path(sys.argv[2])
found = scalars_of(run / "tensorboard")["test_accuracy"]
lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
wanted = {line["cycle"]: line["test_accuracy"] for line in lines}
assert found.keys() == wanted.keys(), (found, wanted)
assert all(abs(found[cycle] - wanted[cycle]) < 1e-6 for cycle in wanted), (found, wanted)
"""


class Place(NamedTuple):
    """Where the newcomer works."""

    wheel: Path
    top: Path
    """A new folder, of all the others."""

    @property
    def environment(self) -> Path:
        """Virtual environment."""
        return self.top / "environment"

    @property
    def work(self) -> Path:
        """Folder that commands run in."""
        return self.top / "work"

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables, as they are when the virtual environment is active."""
        kept = {name: value for name, value in os.environ.items() if name not in FORGOTTEN}
        path = f"{self.environment / 'bin'}{os.pathsep}{kept.get('PATH', os.defpath)}"
        return kept | {"PATH": path, "XDG_CACHE_HOME": str(self.top / "cache")}


def main() -> None:
    """Take every step; exit with status 1 at the first that fails, or if all took too long."""
    (wheel,) = (TOP / "dist").glob("*.whl")
    seconds: dict[str, float | None] = {}
    with tempfile.TemporaryDirectory(prefix="newcomer-") as folder:
        place = Place(wheel, Path(folder))
        place.work.mkdir()
        for name, step in STEPS.items():
            print(f"{name} ...", flush=True)
            begun = time.monotonic()
            skipped = step(place)
            seconds[name] = None if skipped else time.monotonic() - begun
            print(f"  skipped: {skipped}" if skipped else f"  {seconds[name]:.1f} s", flush=True)
    total = sum(filter(None, seconds.values()))
    print()
    for name, taken in [*seconds.items(), ("in all", total)]:
        print(f"{name:<24} {'skipped' if taken is None else f'{taken:5.1f} s':>9}")
    if total > LIMIT:
        sys.exit(f"that is more than the {LIMIT} seconds a newcomer should need")


def install(place: Place) -> None:
    """The wheel into a new environment, as pinned, with the writer of event files."""
    pins = TOP / "constraints" / f"python{sys.version_info[0]}.{sys.version_info[1]}.txt"
    if not pins.exists():
        sys.exit(f"{pins.name} is not in {pins.parent}: choose another Python, PYTHON=python3.N")
    say(place, sys.executable, "-m", "venv", str(place.environment))
    wanted = f"{place.wheel}[tensorboard]"
    say(place, "pip", "install", "--quiet", "--constraint", str(pins), wanted)


def look_around(place: Place) -> None:
    """Versions, and what the machine lacks."""
    version = place.wheel.name.split("-")[1]
    said = say(place, "rso", "--version")
    right = f"rso_jax {version}\n" in said and str(place.environment) in said
    expect(right, f"not the wheel's version, or not its package:\n{said}", "rso --version")
    say(place, "rso", "doctor")


def first_result(place: Place) -> None:
    """The README's first command."""
    train(place, "--dataset", "digits")


def own_model(place: Place) -> None:
    """The README's lines for the reader's own model."""
    section = (TOP / "README.md").read_text().split("\n## Your own model\n")[1].split("\n## ")[0]
    (place.work / "own_model.py").write_text("\n".join(blocks("python", section)))
    said = say(place, "python", "own_model.py")
    error = re.search(r"error ([\d.]+)% after \d+ visits", said)
    expect(error is not None and float(error[1]) < 5, f"it did not learn: {said}", "own_model.py")


def own_data(place: Place) -> None:
    """The recipe for a file of arrays: the code that writes one, and the command."""
    recipe = (TOP / "docs" / "how_to" / "own_data.md").read_text()
    (place.work / "own_data.py").write_text(blocks("python", recipe)[0])
    say(place, "python", "own_data.py")
    (command,) = blocks("console", recipe)[0].splitlines()
    said = say(place, *shlex.split(command.removeprefix("$ ")))
    accuracy = re.search(r"test accuracy after cycle \d+ +([\d.]+)%", said)
    expect(accuracy is not None and float(accuracy[1]) > 90, f"it did not learn: {said}", command)


def comparison(place: Place) -> None:
    """A second run, and a picture of both."""
    first = place.work / "runs" / "digits-mlp-rso-1"
    second = train(place, "--dataset", "digits", "--optimizer", "sgd")
    say(place, "rso", "plot", str(first), str(second))
    picture = str(place.work / "comparison.png")
    colours = int(say(place, "python", "-c", LOOK_AT_PICTURE, picture))
    expect(colours >= COMMON_COLOURS, f"the picture has {colours} colours", "rso plot")


def event_files(place: Place) -> None:
    """A run that TensorBoard can follow, read back."""
    run = train(
        *(place, "--dataset", "digits", "--optimizer", "sgd", "--cycles", "5"),
        *("--log", "tensorboard"),
    )
    say(place, "python", "-c", READ_EVENTS, str(TOP / "tests" / "training"), str(run))


def bash_completion(place: Place) -> str | None:
    """Two words completed by tabs in bash."""
    return complete(place, ["bash", "--norc", "--noprofile", "-i"], "source <(rso completion bash)")


def zsh_completion(place: Place) -> str | None:
    """The same in zsh."""
    loading = "autoload -Uz compinit && compinit -u -D && source <(rso completion zsh)"
    return complete(place, ["zsh", "-f", "-i"], loading)


def documentation(place: Place) -> None:
    """The site, from a new clone of what is committed."""
    clone = place.top / "clone"
    say(place, "git", "clone", "--quiet", str(TOP), str(clone))
    say(place, "make", "-C", str(clone), "docs", f"PYTHON={sys.executable}")
    expect((clone / "site" / "index.html").exists(), "site/index.html is missing", "make docs")


STEPS: dict[str, Callable[[Place], str | None]] = {
    "install the wheel": install,
    "version, doctor": look_around,
    "first result": first_result,
    "own model": own_model,
    "own data": own_data,
    "comparison plot": comparison,
    "TensorBoard's files": event_files,
    "completion in bash": bash_completion,
    "completion in zsh": zsh_completion,
    "documentation": documentation,
}
"""What each does; it may return why it was skipped."""


def train(place: Place, *words: str) -> Path:
    """Train by the command line; the run folder that it names."""
    said = say(place, "rso", "train", *words)
    named = re.search(r"^run folder (.*)$", said, re.MULTILINE)
    expect(named is not None, f"no run folder named: {said}", f"rso train {' '.join(words)}")
    return place.work / named[1]


def complete(place: Place, shell: list[str], loading: str) -> str | None:
    """Load the completion in a shell, and have it finish the words of a command.

    Args:
        place: as of every step.
        shell: program and arguments of an interactive shell.
        loading: command that loads it.

    Returns:
        Why it was skipped, if it was.
    """
    if shutil.which(shell[0]) is None:
        return f"there is no {shell[0]} here"
    lines = [loading, f"rso compl\t z\t > {shell[0]}.txt", "exit"]
    shown, ended = type_into(shell, lines, place.work, place.variables)
    made = place.work / f"{shell[0]}.txt"
    wanted = say(place, "rso", "completion", "zsh")
    right = ended and made.exists() and made.read_text() == wanted
    expect(right, f"nothing was completed; the terminal showed\n{shown}", shell[0])
    return None


def say(place: Place, *command: str) -> str:
    """Run a command as the newcomer; what it printed, errors too, or the end if it fails."""
    try:
        found = subprocess.run(
            command,
            cwd=place.work,
            env=place.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except FileNotFoundError:
        sys.exit(f"failed: {shlex.join(command)}\nthere is no {command[0]} here")
    expect(found.returncode == 0, f"{found.stdout}exit status {found.returncode}", *command)
    return found.stdout


def expect(true: bool, otherwise: str, *command: str) -> None:
    """End with the command that failed, and what it did instead, unless something is true."""
    if not true:
        sys.exit(f"failed: {shlex.join(command)}\n{otherwise}")


if __name__ == "__main__":
    main()
