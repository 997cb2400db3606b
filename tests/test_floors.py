"""The floors of the package: a module imports from its own floor and those below."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "rso_jax"
GROUND = (
    "descent",
    *(
        "arguments",
        "arrays",
        "candidates",
        "errors",
        "files",
        "folded",
        "machine",
        "mesh",
        "method",
    ),
    *("schedules", "stacks", "timing", "trees"),
)
MAY_IMPORT = {
    "incremental": GROUND,
    "search": (*GROUND, "incremental"),
    "slopes": (*GROUND, "incremental", "search"),
    "baselines": GROUND,
    "networks": GROUND,
    "data": GROUND,
    "tasks": (*GROUND, "networks", "data"),
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
        for module in sorted((PACKAGE / part).rglob("*.py")):
            found = set(imported_parts(module)) - {part, *allowed}
            assert not found, f"{module.relative_to(PACKAGE)} imports {', '.join(sorted(found))}"


def test_the_ground_imports_only_itself_and_counts_operations():
    for name in GROUND:
        module = PACKAGE / f"{name}.py"
        if module.exists():
            assert set(imported_parts(module)) <= {*GROUND, "incremental"}
