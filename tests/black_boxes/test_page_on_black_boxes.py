"""The page on black boxes runs as shown."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "black_boxes.md"


def test_the_page_on_black_boxes_runs(capsys):
    known: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), known)
    thrown, batched, averaged = capsys.readouterr().out.splitlines()
    assert float(thrown.split()[0]) < 3
    flights, calls = map(int, re.fullmatch(r"(\d+) flights in (\d+) calls", batched).groups())
    assert calls < flights
    assert averaged == "1.5 0"
