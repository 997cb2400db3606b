"""The recipes of the documentation run as shown, each page by itself.

Blocks that import a package that is not among those of development are left out of their page, and
run with it where the package is installed.
"""

import re
from pathlib import Path

import pytest

HOW_TO = Path(__file__).parents[1] / "docs" / "how_to"
ALL_RIGHT = [r"loss 1\.\d\d, by search 0\.[0-4]\d, along slopes 0\.[0-4]\d", r"(9\d|100)%"]
STACKED = [r"{'image': \(2, 65, 13\), 'label': \(2, 65\)}"]
SAID = {
    "own_model": [r"loss [\d.]+, after a cycle [\d.]+"],
    "state": [*ALL_RIGHT, *ALL_RIGHT],
    "own_loss": [r"cost 0\.1\d+", r"\d+% called benign", r"0\.693 by \d+ image evaluations"],
    "own_data": [r"test accuracy (9\d|100)%", *STACKED, r"\(4, 32, 13\)"],
    "frozen_leaves": ["120 of 888 weights visited", "True"],
    "resume": ["good enough", "True"],
    "export": [r"\['params/layers_0/bias', .*\]", "True"],
}
WITH_A_PACKAGE = {
    ("own_model", "haiku"): [],
    ("state", "haiku"): ALL_RIGHT,
    ("own_data", "grain"): STACKED,
    ("own_data", "torch"): STACKED,
    ("own_data", "tensorflow"): STACKED,
}
"""What the blocks of a page say that import this package."""
PACKAGES = {package for _, package in WITH_A_PACKAGE}


def test_every_recipe_is_tested():
    assert {page.stem for page in HOW_TO.glob("*.md")} == {"index", *SAID}
    asked = {(page, name) for page in SAID for block in blocks_of(page) for name in needs(block)}
    assert asked == set(WITH_A_PACKAGE)


@pytest.mark.parametrize("page", SAID)
def test_a_recipe_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ran, _ = run(page, set(), capsys)
    check_said(ran, SAID[page])


@pytest.mark.parametrize(("page", "package"), WITH_A_PACKAGE)
def test_a_recipe_with_another_package_runs(page, package, tmp_path, monkeypatch, capsys):
    pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.chdir(tmp_path)
    _, with_it = run(page, {package}, capsys)
    check_said(with_it, WITH_A_PACKAGE[page, package])


def run(page, packages, capsys):
    """What the blocks of a page print, those that need none of ``PACKAGES`` and the others."""
    said, names = ([], []), {}
    for block in blocks_of(page):
        if needs(block) <= packages:
            exec(compile(block, f"{page}.md", "exec"), names)
            said[bool(needs(block))].extend(capsys.readouterr().out.splitlines())
    return said


def check_said(said, wanted):
    assert len(said) == len(wanted)
    for line, pattern in zip(said, wanted, strict=True):
        assert re.fullmatch(pattern, line), line


def blocks_of(page):
    text = (HOW_TO / f"{page}.md").read_text()
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def needs(block):
    return PACKAGES & set(re.findall(r"^(?:import|from) (\w+)", block, re.MULTILINE))
