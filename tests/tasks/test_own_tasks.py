"""Tasks of one's own: those of the page on tasks, by a search and by a gradient method."""

import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from small_problem import StopAtLook

from rso_jax import rso
from rso_jax.baselines import cosine_sgd, gradient_method
from rso_jax.training import ConsoleReporter, train

PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"
CYCLES = 2


@pytest.fixture(scope="module")
def page():
    """Names that its code defines, and what it prints."""
    names = {"printed": []}
    names["print"] = lambda *said: names["printed"].append(" ".join(map(str, said)))
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_the_page_trains_what_it_shows(page):
    regression, folder, *characters = page["printed"]
    error = re.fullmatch(r"error ([\d.]+) standard deviations", regression).group(1)
    assert float(error) < 0.9
    assert folder == "['checkpoints', 'metrics.jsonl', 'params.npz']"
    guessing = np.log(len(page["letters"]))
    for name, line in zip(("search", "Adam"), characters, strict=True):
        nats = re.fullmatch(rf"{name}: ([\d.]+) nats per character", line).group(1)
        assert float(nats) < guessing - 0.5


def sgd(loss):
    return gradient_method(loss, cosine_sgd(learning_rate=0.1, steps=4))


@pytest.mark.parametrize("make", [lambda loss: rso(loss), sgd])
@pytest.mark.parametrize(
    ("task", "loss", "numbers"),
    [
        ("regression", "squared_error", ["test_error"]),
        ("characters", "nats_per_character", ["train_loss", "test_loss"]),
    ],
)
def test_interrupted_it_goes_on_to_the_same_end(page, task, loss, numbers, make, tmp_path, capsys):
    method, task = make(page[loss]), page[task]
    whole = train(method, task, cycles=CYCLES, reporter=ConsoleReporter())
    said = capsys.readouterr().out.splitlines()
    for looks in (1, 2):
        stopped = train(
            method, task, cycles=CYCLES, folder=tmp_path, resume=True, stop=StopAtLook(looks)
        )
        assert stopped.stopped == "stopped by the test"
    resumed = train(method, task, cycles=CYCLES, folder=tmp_path, resume=True)
    for a, b in zip(*map(jax.tree.leaves, (whole.params, resumed.params)), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    assert [line | {"seconds": 0} for line in whole.metrics] == [
        line | {"seconds": 0} for line in resumed.metrics
    ]
    written = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert written == resumed.metrics and len(written) == CYCLES
    assert list(written[0])[1 : 1 + len(numbers)] == numbers
    shown = task.shown or tuple(numbers)
    for line, told in zip(whole.metrics, said, strict=True):
        place = f"cycle {line['cycle']}/{CYCLES}"
        assert re.match(rf"{place}  {shown[0].replace('_', ' ')} [\d.]+  accepted", told)
