"""The notebooks run from start to end, and what is stored in them is whole and clean."""

from __future__ import annotations

import ast
import base64
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
#: What the cell tagged ``parameters`` of each notebook holds in the tests instead.
SHORT: dict[str, dict[str, int]] = {
    "01_agent_graph": {"env_steps": 2000},
    "02_train_and_watch": {"env_steps": 2000, "film_frames": 5},
    "03_reward_decomposition": {"fit_steps": 20, "env_steps": 4000},
    "04_your_own_environment": {"env_steps": 2000, "film_frames": 5},
    "05_certify_and_kappa": {"env_steps": 2000},
    "06_power_grid": {"env_steps": 2000, "film_frames": 4},
}
#: Packages that a notebook may import; of lomaq nothing below its front page.
ALLOWED = {"IPython", "lomaq", "matplotlib", "numpy", "pathlib", "tempfile", "torch", "warnings"}
#: Bytes of the largest notebook and of the largest film in one.
LARGEST, LARGEST_FILM = 10**6, 600_000

every_notebook = pytest.mark.parametrize("name", SHORT)


def read(name: str) -> NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(book: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def outputs(book: NotebookNode) -> list[NotebookNode]:
    return [output for cell in code_cells(book) for output in cell.outputs]


def parameters(book: NotebookNode) -> NotebookNode:
    (cell,) = [cell for cell in code_cells(book) if "parameters" in cell.metadata.get("tags", [])]
    return cell


def complaints(book: NotebookNode) -> list[str]:
    """What went to stderr, and errors."""
    found = [output.get("text", "") for output in outputs(book) if output.get("name") == "stderr"]
    return found + [output.evalue for output in outputs(book) if output.output_type == "error"]


def texts(book: NotebookNode) -> list[str]:
    """Sources, and outputs without pictures."""
    result = [cell.source for cell in book.cells]
    for output in outputs(book):
        kinds: dict[str, Any] = output.get("data", {})
        result += [output.get("text", ""), *(value for kind, value in kinds.items() if kind.startswith("text/"))]
    return result


def test_every_notebook_is_tested():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(SHORT)


@every_notebook
def test_a_notebook_begins_with_what_it_is_about_and_has_one_cell_of_whole_numbers_to_shorten(name):
    book = read(name)
    nbformat.validate(book)
    assert book.cells[0].source.startswith(f"# {int(name[:2])} · ")
    values: dict[str, Any] = {}
    exec(parameters(book).source, {}, values)
    assert values.keys() == SHORT[name].keys()
    assert all(SHORT[name][key] < value for key, value in values.items())


@every_notebook
def test_stored_outputs_are_those_of_one_run_with_pictures_and_without_complaints(name):
    book = read(name)
    cells = code_cells(book)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert complaints(book) == []
    pictures = [kind for output in outputs(book) for kind in output.get("data", {}) if kind.startswith("image/")]
    assert len(pictures) >= 3
    assert [text for text in texts(book) if "env steps  ε" in text] == []  # lines of a training's progress


@every_notebook
def test_a_notebook_is_small(name):
    assert (FOLDER / f"{name}.ipynb").stat().st_size <= LARGEST
    films = [output.data["image/gif"] for output in outputs(read(name)) if "image/gif" in output.get("data", {})]
    assert all(len(base64.b64decode(film)) <= LARGEST_FILM for film in films)


@every_notebook
def test_a_notebook_imports_lomaq_and_little_else(name):
    imported = set()
    for cell in code_cells(read(name)):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module))
    assert {module.partition(".")[0] for module in imported} <= ALLOWED
    assert not [module for module in imported if module.startswith("lomaq.")]
    assert "lomaq" in imported


@every_notebook
def test_a_notebook_names_no_place_on_the_machine_that_made_it(name):
    place = re.compile(r"(?<![\w.<])/(?:home|root|tmp|work|usr|opt|mnt|var|Users)\b|[A-Z]:\\")
    assert [text for text in texts(read(name)) if place.search(text)] == []


@every_notebook
@pytest.mark.slow
def test_a_notebook_runs_from_start_to_end(name, tmp_path, monkeypatch):
    for variable in ("IPYTHONDIR", "TMPDIR"):  # what it leaves behind goes there, too
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    book = read(name)
    parameters(book).source = "\n".join(f"{key} = {value}" for key, value in SHORT[name].items())
    client = NotebookClient(
        book,
        timeout=120,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    assert complaints(book) == []
