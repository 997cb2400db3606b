"""Build the release into dist/, of a copy whose README can be read away from the checkout.

``make dist`` and ``make newcomer`` begin with this. A package index shows the README without the
files beside it. With REPOSITORY_URL, as for the documentation, its links lead into the repository,
at TAG where there is one; without, only their words are left.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).parents[1]
FILES = (
    *("CHANGELOG.md", "CITATION.cff", "LICENSE", "MANIFEST.in", "README.md"),
    *("pyproject.toml", "setup.cfg"),
)
"""Beside the package, what the release is made of."""
FENCED = re.compile(r"^(```.*?^```$)", re.DOTALL | re.MULTILINE)
RELATIVE_LINK = re.compile(r"\[([^\[\]]*)\]\((?![a-z]+:)([^)\s]+)\)")


def main(repository: str, tag: str) -> None:
    """Build both archives.

    Args:
        repository: address that links begin with; empty if there is none.
        tag: under which it is released, as v0.1.0; empty if it is not.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "rso_jax"
        # All of it: what should not be there is seen when the archives are checked.
        shutil.copytree(
            TOP / "rso_jax", copy / "rso_jax", ignore=shutil.ignore_patterns("__pycache__")
        )
        for name in FILES:
            shutil.copy(TOP / name, copy)
        readme = lead_links((TOP / "README.md").read_text(), repository, tag or "main")
        (copy / "README.md").write_text(readme)
        command = [sys.executable, "-m", "build", "--no-isolation", "--quiet"]
        command += ["--outdir", str(TOP / "dist")]
        if code := subprocess.run(command, cwd=copy).returncode:
            sys.exit(code)


def lead_links(text: str, repository: str, version: str) -> str:
    """Text in which no link is relative.

    Args:
        text: Markdown of a file at the top of the repository.
        repository: as of ``main``.
        version: tag or branch that links lead to.
    """

    def lead(found: re.Match[str]) -> str:
        words, target = found.groups()
        return (
            f"[{words}]({repository.rstrip('/')}/blob/{version}/{target})" if repository else words
        )

    return "".join(
        part if part.startswith("```") else RELATIVE_LINK.sub(lead, part)
        for part in FENCED.split(text)
    )


def relative_links(text: str) -> list[str]:
    """What the relative links of a text in Markdown lead to."""
    prose = "".join(part for part in FENCED.split(text) if not part.startswith("```"))
    return [target for _, target in RELATIVE_LINK.findall(prose)]


if __name__ == "__main__":
    main(os.environ.get("REPOSITORY_URL", ""), os.environ.get("TAG", ""))
