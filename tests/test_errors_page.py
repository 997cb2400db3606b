"""Messages that the page on errors quotes are those that the package raises."""

import ast
import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
PAGE = (TOP / "docs" / "errors.md").read_text()
QUOTED = re.findall(r"^\| `(.*?…?)` \| ", PAGE, re.MULTILINE)
ANY = "\N{FULL BLOCK}"


def raised():
    """Messages of every ``UserError`` in the package, with one sign for each value in it."""
    for path in (TOP / "rso_jax").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UserError":
                yield "".join(map(words, node.args))


def words(node):
    if isinstance(node, ast.JoinedStr):
        return "".join(map(words, node.values))
    return node.value if isinstance(node, ast.Constant) else ANY


MESSAGES = list(raised())


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_quoted_message_is_raised(quoted):
    pattern = ".*".join(re.escape(part.strip()) for part in quoted.split("…"))
    pattern = re.sub(r"\\ ", r"\\s*", pattern)
    assert any(re.fullmatch(pattern, message, re.DOTALL) for message in MESSAGES)


def test_there_are_messages():
    assert len(QUOTED) > 20
