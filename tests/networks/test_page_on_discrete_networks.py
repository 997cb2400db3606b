"""The page on networks that take few values runs as shown."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "discrete.md"


def test_the_page_on_discrete_networks_runs(capsys):
    known: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), known)
    held_out, by_whole_numbers = map(float, re.findall(r"([\d.]+)% ", capsys.readouterr().out))
    assert held_out > 80 and by_whole_numbers > 90
    assert len(set(known["params"]["in"].ravel().tolist())) == 3
    assert known["arrays"]["kernel_0"].dtype == "int8"
