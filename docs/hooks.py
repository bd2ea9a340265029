"""Called by mkdocs: brings README.md, and files outside docs/ that a page links to, into the site."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
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
    """Turn links between files of the repository into links between files of the site."""
    here = posixpath.dirname(page.file.src_uri)

    def moved(match: re.Match[str]) -> str:
        place = place_of(target_of(page.file.src_uri, match[1]))
        return f"]({posixpath.relpath(place, here or '.')}{match[2] or ''})"

    return LINK.sub(moved, markdown)
