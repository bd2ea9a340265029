"""Writes the site's pages as plain Markdown: python docs/build.py [FOLDER].

Any generator can render them; the API reference has directives of mkdocstrings.

FOLDER (build/docs) then is a complete project of MkDocs: ``mkdocs.yml`` and in ``pages/`` all pages, with README.md and
CHANGELOG.md, the table of methods, a page for each part of the public API, and whatever files of the repository are
linked. :data:`MARKS` are replaced.
"""

from __future__ import annotations

import ast
import itertools
import posixpath
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from lomaq.config import CONF, compose, methods

ROOT = Path(__file__).resolve().parents[1]
#: Files outside docs/ that are pages, and their names in the site.
MOVED = {"README.md": "readme.md", "CHANGELOG.md": "changelog.md"}
#: ``](target#anchor)``, unless the target is an address or an anchor alone.
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")
#: The public API, a page each. What several offer is described by the first that is not the package itself.
PARTS = ("lomaq", "graphs", "envs", "mixers", "rewards", "objectives", "testing", "export")

# ------------------------------------------------------------------------ places


def place_of(path: str) -> str:
    """Where a file of the repository lies in the site."""
    return path.removeprefix("docs/") if path.startswith("docs/") else MOVED.get(path, f"repository/{path}")


def target_of(path: str, link: str) -> str:
    """What ``link`` in the file ``path`` of the repository means there."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), link))


def with_moved_links(path: str, text: str) -> str:
    """The text of the page ``path`` with its links as they are in the site."""
    here = posixpath.dirname(place_of(path)) or "."

    def moved(match: re.Match[str]) -> str:
        return f"]({posixpath.relpath(place_of(target_of(path, match[1])), here)}{match[2] or ''})"

    return LINK.sub(moved, text)


# ------------------------------------------------------------------------ methods


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


# ---------------------------------------------------------------------- reference


def public(part: str) -> tuple[str, list[str]]:
    """What a part of the package says of itself, and the names in its ``__all__``; nothing is imported."""
    folder = ROOT / "src" / "lomaq" / ("" if part == "lomaq" else part)
    tree = ast.parse((folder / "__init__.py").read_text())
    (names,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    docstring = ast.get_docstring(tree) or ""
    return docstring.partition("\n")[0], sorted(set(names) - {"__version__"}, key=str.casefold)


def described() -> dict[str, str]:
    """Each public name, and the part whose page describes it."""
    return {name: part for part in (PARTS[0], *PARTS[:0:-1]) for name in public(part)[1]}


def module_of(part: str) -> str:
    """The module that a part of the API is imported from."""
    return part if part == "lomaq" else f"lomaq.{part}"


def reference(part: str) -> str:
    """The page of a part of the public API, with a directive of mkdocstrings for each name."""
    about, names = public(part)
    own = described()
    links = ", ".join(f"[`{name}`]({own[name]}.md#{module_of(own[name])}.{name})" for name in names)
    directives = "\n\n".join(f"::: {module_of(part)}.{name}" for name in names if own[name] == part)
    summary = f"> {about}\n> For readers who call it from Python: every public name, with arguments, shapes and errors."
    return f"# {module_of(part)}\n\n{summary}\n\n{links}\n\n{directives}\n"


def reference_table() -> str:
    """The pages of the public API, a row each."""
    rows = (f"| [`{module_of(part)}`](reference/{part}.md) | {public(part)[0]} |" for part in PARTS)
    return "\n".join(["| import from | |", "|---|---|", *rows])


# --------------------------------------------------------------------------- site

#: What is put in place of comments: in pages, and in the navigation.
MARKS = {"<!-- methods -->": methods_table, "<!-- reference -->": reference_table}


def navigation(text: str) -> str:
    """docs/mkdocs.yml with the pages of all methods and of the public API."""
    pages = {f"algorithms/{name}.md": method["label"] for name, method in methods(learning=False).items()}
    entries = "\n".join(f"      - {label}: {page}" for page, label in pages.items())
    parts = "\n".join(f"      - {module_of(part)}: reference/{part}.md" for part in PARTS)
    return text.replace("      # methods", entries).replace("      # reference", parts)


def write(folder: Path) -> None:
    """Write the site's pages and ``mkdocs.yml`` into ``folder``; what is there is replaced."""
    shutil.rmtree(folder, ignore_errors=True)
    paths = [*MOVED, *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("docs/**/*.md")))]
    pages = {path: (ROOT / path).read_text() for path in paths}
    linked = {target_of(path, link) for path, text in pages.items() for link, _ in LINK.findall(text)}
    for path in sorted(linked - {*pages}):
        if (ROOT / path).is_file():
            file = folder / "pages" / place_of(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, file)
    made = {place_of(path): with_moved_links(path, text) for path, text in pages.items()}
    made |= {f"reference/{part}.md": reference(part) for part in PARTS}
    for place, text in made.items():
        for mark, content in MARKS.items():
            text = text.replace(mark, content()) if mark in text else text
        file = folder / "pages" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (folder / "mkdocs.yml").write_text(navigation((ROOT / "docs" / "mkdocs.yml").read_text()))


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "docs"))
