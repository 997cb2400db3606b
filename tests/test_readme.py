"""What README and documentation show runs as shown."""

import re
import shlex
from pathlib import Path

import pytest

from rso_jax.cli import main

TOP = Path(__file__).parents[1]
README = TOP / "README.md"


def blocks(language, document=README):
    return re.findall(rf"```{language}\n(.*?)```", document.read_text(), re.DOTALL)


def test_the_python_blocks_run_in_order(capsys):
    names = {}
    for block in blocks("python"):
        exec(compile(block, str(README), "exec"), names)
    printed = capsys.readouterr().out
    error = float(re.search(r"error ([\d.]+)%", printed).group(1))
    assert error < 5, "the reader's own model should learn"


def test_the_page_on_slopes_runs(capsys):
    names = {}
    for block in blocks("python", TOP / "docs" / "slopes.md"):
        exec(compile(block, "slopes.md", "exec"), names)
    assert names["accuracy"] > 0.85
    assert names["info"].image_evaluations == 43 * 128
    capsys.readouterr()


def test_the_page_on_column_programs_runs(capsys):
    from rso_jax.incremental import temporary_rules

    names = {}
    with temporary_rules():
        for block in blocks("python", TOP / "docs" / "incremental.md"):
            exec(compile(block, "incremental.md", "exec"), names)
    found, told = names["found"], names["told"]
    assert (found.columns, found.fan_in, told.columns, told.fan_in) == (3, 5, 5, 3)
    # The two losses printed are those of full forward passes.
    params, batch, o = names["params"], names["batch"], names["o"]
    printed = [float(number) for number in capsys.readouterr().out.split()]
    for weights, loss in zip((names["weights"], names["moved"]), printed, strict=True):
        changed = params | {"in": params["in"].at[:, o].set(weights)}
        assert loss == pytest.approx(float(names["loss_fn"](changed, batch)), rel=1e-5)


def test_the_page_on_pieces_runs(capsys):
    known: dict = {}
    for block in blocks("python", TOP / "docs" / "search.md"):
        exec(compile(block, "search.md", "exec"), known)
    loss, evaluations, blocked = re.fullmatch(
        r"([\d.]+) after (\d+) image evaluations\n([\d.]+), 1 decision for 3 weights\n",
        capsys.readouterr().out,
    ).groups()
    assert float(blocked) < 1e-3
    assert float(loss) < 0.1 and int(evaluations) == 60 * 13 * 100


def test_the_page_on_losses_runs(capsys):
    known: dict = {}
    for block in blocks("python", TOP / "docs" / "losses.md"):
        exec(compile(block, "losses.md", "exec"), known)
    alarms, found, wrong = re.fullmatch(
        r"([\d.]+)% false alarms, ([\d.]+)% found\n(\d+) of 569 wrong\n", capsys.readouterr().out
    ).groups()
    assert float(alarms) <= 1 and float(found) > 90 and int(wrong) < 12


def test_the_page_on_local_losses_runs(capsys):
    known: dict = {}
    for block in blocks("python", TOP / "docs" / "local_losses.md"):
        exec(compile(block, "local_losses.md", "exec"), known)
    costs, ahead = known["costs"], known["ahead"]
    assert 1.5 * costs["first"] < ahead["first"] and costs["second"] == ahead["second"]
    assert known["info"].visits == 2
    capsys.readouterr()


def test_the_page_on_the_spectral_preset_runs(capsys):
    known: dict = {}
    for block in blocks("python", TOP / "docs" / "spectral.md"):
        exec(compile(block, "spectral.md", "exec"), known)
    accuracy = re.fullmatch(r"([\d.]+)%\n", capsys.readouterr().out)
    assert float(accuracy.group(1)) > 90


def test_the_page_on_devices_runs(capsys):
    for block in blocks("python", TOP / "docs" / "devices.md"):
        exec(compile(block, "devices.md", "exec"), {})
    loss = re.fullmatch(r"([\d.]+) on 1 device\(s\)\n", capsys.readouterr().out)
    assert float(loss.group(1)) < 0.1


def test_the_readers_own_model_takes_ten_lines():
    code = [line for line in blocks("python")[1].splitlines() if line.strip()]
    assert len(code) <= 10


def test_the_commands_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RSO_CACHE_DIR", str(tmp_path / "cache"))
    commands = [c for block in blocks("bash") for c in block.splitlines() if c.strip()]
    assert len(commands) >= 5
    for command in commands:
        words = shlex.split(command, comments=True)
        assert words[0] == "rso"
        assert main(words[1:]) == 0, command
    assert (tmp_path / "comparison.png").exists()
    assert '"test_accuracy"' in capsys.readouterr().out


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text()))
def test_links_lead_somewhere(link):
    assert (README.parent / link).exists()
