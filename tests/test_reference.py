"""The reference of the documentation has everything public."""

import importlib
import re
import types
from pathlib import Path

import pytest

import rso_jax

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
NAMES = [
    name
    for page in sorted(REFERENCE.glob("*.md"))
    for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)
]
PARTS = {*rso_jax.__all__, "search", "descent", "leaves"}


def resolve(name):
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        package, _, last = name.rpartition(".")
        return getattr(importlib.import_module(package), last)


def public(module):
    """Members of a module that a page on it shows; for another object none."""
    names = getattr(module, "__all__", [n for n in vars(module) if not n.startswith("_")])
    return [getattr(module, name) for name in names]


@pytest.fixture(scope="module")
def shown():
    found = [resolve(name) for name in NAMES]
    members = [m for f in found if isinstance(f, types.ModuleType) for m in public(f)]
    return found + [m for m in members if not isinstance(m, types.ModuleType)]


@pytest.mark.parametrize("part", sorted(PARTS))
def test_what_is_public_is_shown(part, shown):
    found = resolve(f"rso_jax.{part}")
    if not hasattr(found, "__all__"):
        assert any(found is other for other in shown)
        return
    for member in public(found):
        assert any(member is other for other in shown), member


def test_every_page_shows_something_once():
    assert len(NAMES) == len(set(NAMES)) > 30
