"""What is stored of a study in ``results`` is what its report makes of the runs in its archive."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name

import pytest

from lomaq.config import compose
from lomaq.inputs.text import read_checked
from lomaq.runs.archive import ARCHIVE, read_archive

#: Those that have ended: of others the archive alone is stored, from which they go on.
STUDIES = sorted(path.parent for path in Path(__file__).parents[1].glob("results/*/summary.json"))
STUDIES = [folder for folder in STUDIES if (folder / ARCHIVE).is_file()]
#: Of which the report simulates references of many tasks, which takes a minute.
LONG = ("sharing",)


@pytest.mark.parametrize(
    "stored", [pytest.param(s, marks=pytest.mark.slow if s.name in LONG else (), id=s.name) for s in STUDIES]
)
def test_the_report_of_the_stored_runs_is_the_stored_report(stored: Path, tmp_path: Path) -> None:
    study = compose([f"experiment={stored.name}"])["study"]
    report = resolve_name(":".join(study["report"].rsplit(".", 1)))
    folder = tmp_path / stored.name
    folder.mkdir()
    assert report(folder, [*read_archive(stored).values()]) == read_checked(stored / "summary.json")
    for made in folder.glob("table.md"):
        assert made.read_text() == (stored / made.name).read_text()
