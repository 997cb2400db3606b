"""Workflows of a public CI run what the Makefile has, for the Pythons that are supported."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
MAKEFILE = (TOP / "Makefile").read_text()
WORKFLOWS = sorted((TOP / ".github" / "workflows").glob("*.yml"))
SUPPORTED = re.search(r"^PYTHONS \?= (.*)$", MAKEFILE, re.MULTILINE).group(1).split()


def runs(workflow):
    return re.findall(r"run: (.*)", workflow.read_text())


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_step_is_a_target(workflow):
    targets = re.findall(r"^([a-z]+):.*##", MAKEFILE, re.MULTILINE)
    for command in runs(workflow):
        make, target, *settings = command.split()
        assert make == "make" and target in targets
        for setting in settings:
            assert re.search(rf"^{setting.partition('=')[0]} \?=", MAKEFILE, re.MULTILINE)


def test_what_must_pass_runs():
    found = {command.split()[1] for workflow in WORKFLOWS for command in runs(workflow)}
    assert found == {"lint", "test", "docs", "dist", "lowest"}


def test_pythons_are_those_supported():
    classified = re.findall(r"Python :: (3\.\d+)", (TOP / "setup.cfg").read_text())
    pinned = [path.stem.removeprefix("python") for path in (TOP / "constraints").glob("*.txt")]
    matrix = re.search(r"python: \[(.*)\]", (TOP / ".github/workflows/ci.yml").read_text()).group(1)
    assert SUPPORTED == classified == sorted(pinned) == re.findall(r"[\d.]+", matrix)


def test_the_files_that_state_the_version_agree():
    stated = {
        re.search(pattern, (TOP / name).read_text(), re.MULTILINE).group(1)
        for name, pattern in {
            "setup.cfg": r"^version = (.*)$",
            "CITATION.cff": r"^version: (.*)$",
            "rso_jax/__init__.py": r'^__version__ = "(.*)"$',
        }.items()
    }
    assert len(stated) == 1
