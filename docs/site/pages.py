"""Hooks of the documentation site: pages from elsewhere in the repository, and its links.

The site's own pages are docs/**/*.md. Others are made here from files that stay where they are:
the leaderboard, notebooks, sections of the README. A link is written as it works in a checkout,
relative to its file. On the site it leads to the page made of that file; to a file that has no page
it leads into the repository, if REPOSITORY_URL is set, and else only its text is left.
"""

import base64
import json
import logging
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

TOP = Path(__file__).parents[2]
# A warning fails the build, which is strict.
log = logging.getLogger("mkdocs.hooks.pages")

MADE_OF = {
    "leaderboard.md": "experiments/leaderboard.md",
    "experiments.md": "experiments/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    **{
        f"notebooks/{path.stem}.md": f"notebooks/{path.name}"
        for path in sorted((TOP / "notebooks").glob("*.ipynb"))
    },
}
"""Pages of the site by the files of the repository that they are made of."""
PICTURES = ("experiments/results/benchmarks/candidate_cost.png",)
"""Pictures outside docs/ that a page shows."""

FENCED = re.compile(r"^(```.*?^```$)", re.DOTALL | re.MULTILINE)
WORDS = r"(?:`[^`]*`|!\[[^\[\]]*\]\([^)\s]+\)|[^\[\]])*"
LINK = re.compile(rf"(!?)\[({WORDS})\]\(([^)\s]+)\)")
INCLUDE = re.compile(r"<!-- include (\S+?)(?:#(.*?))? -->")
PICTURE = re.compile(r"<!-- picture (\d+) of (\w+) -->")


def on_files(files: Files, config: Any) -> Files:
    """Add what is made of files outside docs/."""
    for page, source in MADE_OF.items():
        if source.endswith(".ipynb"):
            text, pictures = read_notebook(source)
            for name, content in pictures.items():
                files.append(File.generated(config, f"notebooks/{name}", content=content))
        else:
            text = (TOP / source).read_text()
        files.append(File.generated(config, page, content=text))
    for picture in PICTURES:
        files.append(File.generated(config, picture, abs_src_path=str(TOP / picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Put in what the page includes, and lead its links to pages of the site."""
    here = page.file.src_uri
    pictures = [uri for uri in files.src_uris if uri.startswith("notebooks/")] + list(PICTURES)
    made = {uri: uri for uri in pictures} | MADE_OF
    known = {made.get(uri, f"docs/{uri}"): uri for uri in files.src_uris}
    known["README.md"] = "index.md"

    def localise(text: str, source: str) -> str:
        return outside_code(lambda part: lead_links(part, source, here, known, config), text)

    def include(found: re.Match[str]) -> str:
        return localise(section(found[1], found[2]), found[1])

    def picture(found: re.Match[str]) -> str:
        number, name = found.groups()
        up = posixpath.relpath("notebooks", posixpath.dirname(here) or ".")
        return f"[![Picture {number} of the notebook]({up}/{name}-{number}.png)]({up}/{name}.md)"

    markdown = localise(markdown, MADE_OF.get(here, f"docs/{here}"))
    return PICTURE.sub(picture, INCLUDE.sub(include, markdown))


def lead_links(text: str, source: str, here: str, known: dict[str, str], config: Any) -> str:
    """Text in which every link of a file leads somewhere from a page of the site.

    Args:
        text: Markdown of that file, without blocks of code.
        source: path of the file in the repository.
        here: path of the page on the site.
        known: pages and pictures of the site by path in the repository.
        config: of the site.
    """

    def lead(found: re.Match[str]) -> str:
        picture, words, target = found.groups()
        words = LINK.sub(lead, words)  # of a picture that is a link
        path, _, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return found[0]
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if inside in known:
            path = posixpath.relpath(known[inside], posixpath.dirname(here) or ".")
            return f"{picture}[{words}]({path}{'#' + anchor if anchor else ''})"
        if not (TOP / inside).exists():
            log.warning(f"{source} links to {target}, which is not there")
        if not config.repo_url:
            return words
        kind = "tree" if (TOP / inside).is_dir() else "blob"
        return f"[{words}]({config.repo_url.rstrip('/')}/{kind}/main/{inside})"

    return LINK.sub(lead, text)


def outside_code(change: Callable[[str], str], text: str) -> str:
    """Text, changed outside its blocks of code."""
    parts = FENCED.split(text)
    return "".join(part if part.startswith("```") else change(part) for part in parts)


def section(path: str, heading: str | None) -> str:
    """What stands under a heading of a file; what stands before the first without one."""
    parts = re.split(r"^## (.*)$", (TOP / path).read_text(), flags=re.MULTILINE)
    if heading is None:
        return re.sub(r"^# .*$", "", parts[0], count=1, flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    if heading not in found:
        log.warning(f"{path} has no heading {heading!r}; it has {', '.join(found)}")
    return found.get(heading, "")


def read_notebook(source: str) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures by file name.

    Args:
        source: path in the repository.
    """
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in json.loads((TOP / source).read_text())["cells"]:
        text = "".join(cell["source"])
        parts.append(f"```python\n{text}\n```" if cell["cell_type"] == "code" else text)
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{Path(source).stem}-{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![Picture {len(pictures)}]({name})")
            else:
                shown = "".join(output.get("text", data.get("text/plain", "")))
                parts.append(f"```text\n{shown.rstrip()}\n```")
    return "\n\n".join(parts) + "\n", pictures
