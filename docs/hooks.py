"""Called by mkdocs: brings README.md, files that pages link to, and the methods of conf/algo into the site."""

from __future__ import annotations

import itertools
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from lomaq.config import CONF, compose, methods

ROOT = Path(__file__).resolve().parents[1]
#: Where a page wants the table of all methods.
MARK = "<!-- methods -->"
#: ``](target#anchor)``, unless the target is an address or an anchor alone.
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def source_of(page: str) -> str:
    """Where a page of the site lies in the repository."""
    return "README.md" if page == "readme.md" else f"docs/{page}"


def place_of(path: str) -> str:
    """Where a file of the repository lies in the site."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return "readme.md" if path == "README.md" else f"repository/{path}"


def target_of(page: str, link: str) -> str:
    """What ``link`` on a page of the site means in the repository."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source_of(page)), link))


def methods_table(config_dirs: Sequence[Path] = ()) -> str:
    """All methods, a row each."""
    heading = ["| `algo=` | | mixer | reward | partition | objective | learns from |", "|---|---|---|---|---|---|---|"]
    return "\n".join([*heading, *(row(name, config_dirs) for name in methods(config_dirs, learning=False))])


def row(name: str, config_dirs: Sequence[Path] = ()) -> str:
    """The first comment in the file of a method, and what that file sets."""
    file = next(file for folder in (CONF, *config_dirs) if (file := Path(folder, "algo", f"{name}.yaml")).is_file())
    comment = itertools.takewhile(lambda line: line.startswith("#"), file.read_text().splitlines()[1:])
    config = compose([f"algo={name}", *(f"--config-dir={folder}" for folder in config_dirs)])
    objective = config["learner"]["objective"]["_target_"].rpartition(".")[2]
    axes = [config["mixer"]["name"], config["reward"]["name"], config["partition"], objective, config["algo"]["reads"]]
    cells = [f"`{axis}`" for axis in axes] if config["algo"]["policy"] == "utilities" else ["–"] * len(axes)
    return f"| [{name}]({name}.md) | {' '.join(line[2:] for line in comment)} | {' | '.join(cells)} |"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the page of each method into the navigation."""
    (section,) = (entry["Methods"] for entry in config.nav if isinstance(entry, dict) and "Methods" in entry)
    pages = methods(learning=False)
    section[1:1] = [{method["label"]: f"algorithms/{name}.md"} for name, method in pages.items()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add README.md as a page, and whatever pages link to outside docs/."""
    files.append(File.generated(config, "readme.md", content=(ROOT / "README.md").read_text()))
    pages = {page.src_uri: LINK.findall(page.content_string) for page in files.documentation_pages()}
    linked = {target_of(page, link) for page, links in pages.items() for link, _ in links}
    for path in sorted(linked):
        if not path.startswith("docs/") and path != "README.md" and (ROOT / path).is_file():
            files.append(File.generated(config, place_of(path), abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put in the table of methods; turn links between files of the repository into links between files of the site."""
    here = posixpath.dirname(page.file.src_uri)

    def moved(match: re.Match[str]) -> str:
        place = place_of(target_of(page.file.src_uri, match[1]))
        return f"]({posixpath.relpath(place, here or '.')}{match[2] or ''})"

    if MARK in markdown:
        markdown = markdown.replace(MARK, methods_table())
    return LINK.sub(moved, markdown)
