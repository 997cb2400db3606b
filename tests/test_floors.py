"""The floors of the package: a module imports from its own floor and those below."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "rso_jax"
GROUND = (
    *("arguments", "arrays", "black_boxes", "descent", "errors", "files", "machine", "mesh"),
    *("method", "schedules", "stacks", "timing", "trees"),
)
COLUMNS = ("incremental", "candidates", "folded", "leaves")
"""The floor of column programs."""
MAY_IMPORT = {
    **dict.fromkeys(GROUND, GROUND),
    **dict.fromkeys(COLUMNS, (*GROUND, *COLUMNS)),
    "search": (*GROUND, *COLUMNS),
    "slopes": (*GROUND, *COLUMNS),
    "baselines": (*GROUND, *COLUMNS),
    "networks": GROUND,
    "data": GROUND,
    "environments": GROUND,
    "tasks": (*GROUND, "networks", "data", "environments"),
    "training": (*GROUND, "tasks"),
}
"""What each part of the package may import besides itself; the command line imports all."""


def imported_parts(module):
    """The parts of the package that a module imports anywhere."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "rso_jax":
                names = [f"rso_jax.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("rso_jax."))


def test_no_import_goes_up():
    for part, allowed in MAY_IMPORT.items():
        modules = [PACKAGE / f"{part}.py", *sorted((PACKAGE / part).rglob("*.py"))]
        for module in filter(Path.exists, modules):
            found = set(imported_parts(module)) - {part, *allowed}
            assert not found, f"{module.relative_to(PACKAGE)} imports {', '.join(sorted(found))}"
