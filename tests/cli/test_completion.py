"""``rso completion``: what bash completes with the script that it prints."""

import re
import shutil
import subprocess

import pytest

from rso_jax.cli.methods import METHODS
from rso_jax.cli.parsing import COMMANDS

TRY = """
COMP_WORDS=({words}) COMP_CWORD={last}
_rso
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def complete(rso):
    """What bash offers for the last of some words."""
    if shutil.which("bash") is None:
        pytest.skip("no bash here")
    script = rso("completion", "bash").out

    def offered(*words):
        quoted = " ".join(f"'{word}'" for word in ("rso", *words))
        program = script + TRY.format(words=quoted, last=len(words))
        found = subprocess.run(["bash", "-c", program], capture_output=True, text=True)
        assert found.returncode == 0 and not found.stderr, found.stderr
        return found.stdout.split()

    return offered


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("e",), ["evaluate", "explain"]),
        (("--",), ["--help", "--version"]),
        (("train", "--dataset", "f"), ["fashion_mnist"]),
        (("train", "--learning-r"), ["--learning-rate"]),
        (("evaluate", "--re"), ["--readout"]),
        (("evaluate", "run"), []),  # files, by readline
        (("plot", "--r"), []),
        (("data", ""), ["list", "import"]),
        (("data", "import", "m"), ["mnist"]),
        (("completion", "z"), ["zsh"]),
    ],
)
def test_words(words, offered, complete):
    assert complete(*words) == offered


def test_all_commands_and_methods_are_offered(complete):
    assert {*complete("")} == {*COMMANDS, "--help", "--version"}
    assert complete("train", "--optimizer", "") == [*METHODS]


@pytest.mark.parametrize("command", COMMANDS)
def test_its_flags_are_those_of_the_help(command, complete, rso):
    helps = [(command, "--help")]
    if command == "train":
        helps = [(command, "--optimizer", name, "--help") for name in METHODS]
    elif command == "explain":
        helps = [(command, "--optimizer", name, "--help") for name in ("rso", "slopes")]
    elif command == "data":
        helps = [(command, "list", "--help"), (command, "import", "--help")]
    printed = "\n".join(rso(*words).out for words in helps)
    listed = re.findall(r"^\W (?:-h,)? *(--[a-z-]+)", printed, re.MULTILINE)
    assert {*complete(command, "--")} == {*listed}


def test_zsh_reads_the_same_script(rso):
    first, rest = rso("completion", "zsh").out.split("\n", 1)
    assert first == "autoload -Uz bashcompinit && bashcompinit"
    assert rest == rso("completion", "bash").out
    assert rso("completion", "fish").status == 2
