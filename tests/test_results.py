"""The page of results, and the README's table, are what the stored results give."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lomaq.studies.report import table

ROOT = Path(__file__).resolve().parents[1]


def read(path: str) -> Any:
    return json.loads((ROOT / "results" / path).read_text())


def test_writing_the_page_of_results_anew_changes_nothing(results) -> None:
    assert (ROOT / "docs" / "results.md").read_text() == results.page()


def test_writing_the_table_of_the_readme_anew_changes_nothing(results) -> None:
    text = (ROOT / "README.md").read_text()
    assert text.index(results.BEGIN) < text.index(results.END)
    assert text == results.readme()


@pytest.mark.parametrize(
    "folder", [file.parent for file in sorted(ROOT.glob("results/*/table.md"))], ids=lambda place: place.name
)
def test_a_table_of_the_common_report_is_that_of_its_rows_and_on_the_page_of_results(folder: Path) -> None:
    shown = table(read(f"{folder.name}/summary.json")["rows"])
    assert (folder / "table.md").read_text() == shown
    text = (ROOT / "docs" / "results.md").read_text()
    assert f'<a id="{folder.name}"></a>' in text
    assert [line for line in shown.splitlines() if line not in text] == []


def stored(folder: Path, study: str, reference: float | None, **returns: list[float]) -> None:
    """A study of the common report: the first method is the one that others are compared with."""
    rows = [
        {"task": study, "method": method, "env_steps": 1000, "seeds": [0, 1, 2], "returns": values, "iqm": values[1]}
        | {"interval": [values[0], values[2]], "along": None, "absolute": None, "reached": {}, "better": None}
        | {"reference": reference}
        for method, values in returns.items()
    ]
    (folder / study).mkdir()
    (folder / study / "summary.json").write_text(json.dumps({"rows": rows}))


def test_the_table_of_the_readme_has_a_column_for_each_stored_comparison(results, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    assert results.methods_table() is None
    stored(tmp_path, "fig5_nav", None, VDN=[1, 2, 3], LOMAQ=[300, 310, 320], IQL=[290, 295, 305])
    stored(tmp_path, "methods_sysadmin", 50, LOMAQ=[-25, 30, 40], VDN=[49, 50, 50])
    assert results.methods_table().splitlines() == [
        "Interquartile mean of the last test (95 % interval), 3 seeds; env steps: navigation 1,000, dilemma 1,000.",
        "",
        "| method | [navigation](docs/results.md#fig5_nav), return | [dilemma](docs/results.md#methods_sysadmin), % |",
        "|---|---|---|",
        "| LOMAQ | 310 (300 to 320) | 60 (−50 to 80) |",
        "| IQL | 295 (290 to 305) | – |",
        "| VDN | 2 (1 to 3) | 100 (98 to 100) |",
        "",
        "- Navigation: highest mean LOMAQ, 310.0 (300.0 to 320.0); intervals that meet this: IQL.",
        "- Dilemma: highest mean VDN, 100.0 (98.0 to 100.0); no other interval meets this.",
    ]


def test_links_within_the_page_lead_somewhere(results) -> None:
    page = results.page()
    assert set(re.findall(r"\]\(#(\w+)\)", page)) <= set(re.findall(r'<a id="(\w+)">', page))


def test_a_study_has_a_section_as_soon_as_it_is_stored(results, monkeypatch, tmp_path) -> None:
    for folder in (ROOT / "results").iterdir():
        (tmp_path / folder.name).symlink_to(folder)
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    common = ("fig5_cartpole", "fig5_nav", "methods_sysadmin", "methods_voltage", "fig5_paper", "sensitivity")
    common += ("scaling", "wrong_graph", "cognac", "soft")
    own = ("nav_budgets", "fig6", "fig8", "fig9", "theorem1", "dilemma", "sharing", "voltage", "sumo", "bandit")
    shown = results.page()
    assert all(f'<a id="{study}"></a>' in shown for study in own)
    for study in (*common, *own):
        (tmp_path / study).unlink(missing_ok=True)
    bare = results.page()
    assert not [study for study in (*common, *own) if f'<a id="{study}"></a>' in bare]
    for study in common:
        stored(tmp_path, study, None, LOMAQ=[300, 310, 320])
    shown = results.page()
    for study in common:
        assert f'<a id="{study}"></a>' in shown
        assert f"- {study}, 1,000 env steps: highest mean LOMAQ, 310.0 (300.0 to 320.0)" in shown


def test_the_searches_are_shown_where_one_rate_is_what_they_chose(results, monkeypatch, tmp_path) -> None:
    for folder in (ROOT / "results").iterdir():
        if not folder.name.startswith("tune_"):
            (tmp_path / folder.name).symlink_to(folder)
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    assert '<a id="tune"></a>' not in results.page()
    for env, best in (("nav", 400.0), ("voltage", -30.0)):
        (tmp_path / f"tune_{env}").mkdir()
        tried = {"learner.lr=0.01": best, "learner.lr=0.03": best - 100}
        found = {"lomaq": {"chosen": "learner.lr=0.01", "tried": tried}, "sha256": "…"}
        (tmp_path / f"tune_{env}" / "summary.json").write_text(json.dumps(found))
    assert (
        "| `algo=` | navigation | voltage control |\n|---|---|---|\n"
        "| lomaq | 0.01 (400.0; worst 300.0) | 0.01 (−30.0; worst −130.0) |\n"
    ) in results.page()
