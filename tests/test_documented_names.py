"""Every name of the package that README and documentation speak of exists."""

import importlib
import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").rglob("*.md"))]


def names_on(page):
    """The dotted names that begin pieces of code within a line, such as ``rso_jax.mesh.place``."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    spoken = re.findall(r"`([^`]+)`", text)
    return {name for code in spoken for name in re.findall(r"\brso_jax(?:\.[A-Za-z_]\w*)+", code)}


def resolve(name):
    """The object: attributes of a module, and modules that load when they are named."""
    found, parts = importlib.import_module("rso_jax"), name.split(".")
    for i, part in enumerate(parts[1:], start=2):
        if not hasattr(found, part):
            importlib.import_module(".".join(parts[:i]))
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_exist(page):
    missing = []
    for name in sorted(names_on(page)):
        try:
            resolve(name)
        except (AttributeError, ImportError):
            missing.append(name)
    assert not missing


def test_there_are_names():
    assert "rso_jax.tasks.classification" in {name for page in PAGES for name in names_on(page)}
