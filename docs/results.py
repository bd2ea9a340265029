"""Writes docs/results.md, and the table of all methods in README.md, from what results/ holds: python docs/results.py.

The page's template is docs/results.md.jinja. A number in it is read from a stored result with the functions below, and
a study whose folder is not there has no section.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from statistics import fmean, median
from typing import Any

import jinja2

from lomaq.runs.files import read_returns
from lomaq.studies import report
from lomaq.studies.report import number as n

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
#: Where the README's table is.
BEGIN, END = "<!-- begin results -->\n", "<!-- end results -->\n"
#: The studies of all methods → what the README's columns are called.
METHODS = {
    "fig5_nav": "navigation",
    "methods_sysadmin": "dilemma",
    "methods_voltage": "voltage control",
    "fig5_cartpole": "cart-pole",
}

# ----------------------------------------------------------------------- what is stored


def read(path: str) -> Any:
    """A JSON file below results/, or None if it is not stored."""
    file = RESULTS / path
    return json.loads(file.read_text()) if file.is_file() else None


def lines(path: str) -> list[dict[str, Any]]:
    """The lines of a CSV or JSON-lines file below results/."""
    with (RESULTS / path).open() as file:
        return [*csv.DictReader(file)] if path.endswith(".csv") else [json.loads(line) for line in file]


def tests(run: str) -> list[tuple[int, float]]:
    """Env steps and mean return of every test of the run in a folder below results/."""
    return [(test.env_steps, test.mean) for test in read_returns(RESULTS / run)]


def rows(study: str) -> list[dict[str, Any]]:
    """The rows of the common report of a study; none if it is not stored."""
    found = (read(f"{study}/summary.json") or {}).get("rows", [])
    return found if isinstance(found, list) else []


def find(study: str, **wanted: Any) -> dict[str, Any] | None:
    """The only row with these values, or None."""
    found = [row for row in rows(study) if all(row[key] == value for key, value in wanted.items())]
    assert len(found) < 2, (study, wanted)
    return found[0] if found else None


def row(study: str, task: str, env_steps: int, method: str) -> dict[str, Any]:
    """The row of a method."""
    found = find(study, task=task, env_steps=env_steps, method=method)
    assert found is not None, (study, task, env_steps, method)
    return found


# ------------------------------------------------------------------------ how it is shown


def k(env_steps: float | None) -> str:
    """Thousands of env steps."""
    return "never" if env_steps is None else f"{n(env_steps / 1000, 0)} K"


def spread(values: list[float], digits: int | None = None, scale: float = 1) -> str:
    """Median, lowest and highest."""
    middle, low, high = (n(scale * pick(values), digits) for pick in (median, min, max))
    return f"{middle} ({low} to {high})"


def cell(row: dict[str, Any] | None, digits: int | None = None) -> str:
    """Interquartile mean with its interval, in percent of the reference where that is positive."""
    if row is None:
        return "–"
    unit = row["reference"] / 100 if (row["reference"] or 0) > 0 else 1
    value, low, high = (n(x / unit, digits) for x in (row["iqm"], *row["interval"]))
    return f"{value} ({low} to {high})"


def table(study: str) -> str:
    """The tables of the common report, as in table.md."""
    return report.table(rows(study)).rstrip()


def ranked(study: str) -> list[dict[str, Any]]:
    """The rows of a comparison of methods, the highest interquartile mean first."""
    return sorted(rows(study), key=lambda row: -row["iqm"])


def leaders(study: str) -> str:
    """For each task and budget the best method, and those whose intervals meet its; not of fewer than three seeds."""
    cases: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in ranked(study):
        if len(row["seeds"]) > 2:
            cases.setdefault((row["task"], row["env_steps"]), []).append(row)
    said = (f"- {task}, {env_steps:,} env steps: {highest(case)}." for (task, env_steps), case in cases.items())
    return "\n".join(said)


def highest(ranked: list[dict[str, Any]]) -> str:
    """The best of these rows, and the methods whose intervals meet its."""
    best, *others = ranked
    near = [row["method"] for row in others if row["interval"][1] >= best["interval"][0]]
    also = f"intervals that meet this: {', '.join(near)}" if near else "no other interval meets this"
    return f"highest mean {best['method']}, {cell(best)}; {also}"


# ---------------------------------------------------------------------------- what is written


def page() -> str:
    """docs/results.md."""
    loader = jinja2.FileSystemLoader(ROOT / "docs")
    settings = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    env = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, autoescape=False, **settings)
    env.globals |= {f.__name__: f for f in (read, lines, tests, rows, find, row, table, leaders)}
    env.globals |= {f.__name__: f for f in (k, spread, cell)} | {"n": n}
    env.filters |= {"mean": fmean, "median": median, "k": k}
    return re.sub(r"\n{3,}", "\n\n", env.get_template("results.md.jinja").render()).rstrip() + "\n"


def methods_table() -> str | None:
    """The README's block: a column for each stored comparison of all methods; None as long as there is none."""
    stored = [study for study in METHODS if rows(study)]
    if not stored:
        return None
    heads = []
    for study in stored:
        first = rows(study)[0]
        unit = "%" if (first["reference"] or 0) > 0 else "return"
        heads.append(f"[{METHODS[study]}](docs/results.md#{study}), {unit}")
    counts = [f"{METHODS[study]} {rows(study)[0]['env_steps']:,}" for study in stored]
    runs = [len(row["seeds"]) for study in stored for row in rows(study)]
    seeds = f"{min(runs)} to {max(runs)}" if min(runs) < max(runs) else runs[0]
    about = f"Interquartile mean of the last test (95 % interval), {seeds} seeds; env steps: {', '.join(counts)}."
    body = [f"| method | {' | '.join(heads)} |", "|---" * (len(stored) + 1) + "|"]
    for method in dict.fromkeys(row["method"] for study in stored for row in ranked(study)):
        cells = [cell(find(study, method=method), 0) for study in stored]
        body.append(f"| {method} | {' | '.join(cells)} |")
    said = (f"- {METHODS[study].capitalize()}: {highest(ranked(study))}." for study in stored)
    return "\n".join([about, "", *body, "", *said]) + "\n"


def readme() -> str:
    """README.md with its block as it is to be."""
    text, shown = (ROOT / "README.md").read_text(), methods_table()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return text if shown is None else f"{before}{BEGIN}{shown}{END}{after}"


if __name__ == "__main__":
    (ROOT / "docs" / "results.md").write_text(page())
    (ROOT / "README.md").write_text(readme())
