"""The recipes of the documentation run as shown, each by itself."""

import re
from pathlib import Path

import pytest

HOW_TO = Path(__file__).parents[1] / "docs" / "how_to"
SAID = {
    "own_model": [r"loss [\d.]+, after a cycle [\d.]+"],
    "own_loss": [r"cost 0\.1\d+", r"\d+% called benign", r"0\.693 by \d+ image evaluations"],
    "own_data": [
        r"test accuracy (9\d|100)%",
        r"{'image': \(2, 65, 13\), 'label': \(2, 65\)}",
        r"\(4, 32, 13\)",
    ],
    "frozen_leaves": ["120 of 888 weights visited", "True"],
    "resume": ["good enough", "True"],
    "export": [r"\['params/layers_0/bias', .*\]", "True"],
}


def test_every_recipe_is_tested():
    assert {page.stem for page in HOW_TO.glob("*.md")} == {"index", *SAID}


@pytest.mark.parametrize("page", SAID)
def test_a_recipe_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", (HOW_TO / f"{page}.md").read_text(), re.DOTALL):
        exec(compile(block, f"{page}.md", "exec"), names)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == len(SAID[page])
    for line, wanted in zip(said, SAID[page], strict=True):
        assert re.fullmatch(wanted, line), line
