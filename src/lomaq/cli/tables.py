"""Tables on the screen: the result of a run, of a sweep, and runs side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from lomaq.analysis.compare import Comparison
    from lomaq.testing import Report


def print_run(summary: dict[str, Any], run_dir: Path) -> None:
    """Print the result of a run and its paths; nothing in a process that does not lead, which has no summary."""
    if not summary:
        return
    table = Table(title=f"{summary['algorithm']} on {summary['env']}, {summary['n_agents']} agents", show_header=False)
    reached = [
        f"{float(name):,.0f} at {steps / 1000:,.0f} K"
        for name, steps in summary["first_env_steps_at"].items()
        if steps is not None
    ]
    rows = {
        "test return, last": f"{summary['test_return_mean']:,.1f}",
        "test return, best": f"{summary['best_test_return_mean']:,.1f}",
        **{name: f"{value:,.1f}" for name, value in summary["references"].items()},
        **{name: f"{value:,.4g}" for name, value in summary["test_metrics"].items()},
        "per agent, last": f"{summary['test_return_per_agent']:.2f}",
        "first reached": ", ".join(reached) or "no threshold",
    }
    paths = {"curve": f"{run_dir / 'curve.png'}", "summary": f"{run_dir / 'summary.json'}"}
    if "mixer" in summary:  # it learned
        rows |= {
            "env steps": f"{summary['env_steps']:,}"
            + (f", where a test reached {summary['stopped_at']:,.6g}" if "stopped_at" in summary else ""),
            "training": f"{summary['wall_seconds']:,.1f} s, {summary['env_steps_per_second']:,.0f} env steps/s",
            "mixer": f"{summary['mixer']}, κ={summary['kappa']}, {summary['n_blocks']} blocks",
            "parameters": f"{summary['parameters']:,}",
        }
        paths |= {"checkpoint": f"{run_dir}/checkpoints/best.ckpt", "play": f"python evaluate.py checkpoint={run_dir}"}
    for row in rows.items():
        table.add_row(*row)
    Console().print(table)
    for what, where in paths.items():
        print(f"{what:<11}{where}")


def print_comparison(found: Comparison) -> None:
    """Print runs side by side, one a line where they are more than what is said about each; or groups of seeds."""
    if found.groups:
        _print_groups(found.groups)
        return
    table = [["", *found.names], *([row, *map(_cell, values)] for row, values in found.rows.items())]
    print_table(table if len(found.names) <= len(found.rows) else [*zip(*table, strict=True)])


def _print_groups(groups: list[dict[str, Any]]) -> None:
    """A table for each task and budget, a group a line."""
    tables: dict[str, list[list[str]]] = {}
    for row in groups:
        better = "–" if row["better"] is None else "{:.2f} ({:.2f} to {:.2f})".format(*row["better"])
        cells = [row["method"], str(len(row["seeds"])), _estimate(row), f"{min(row['returns']):,.6g}"]
        cells += [_estimate(row["along"]) if row["along"] else "–", better]
        tables.setdefault(f"{row['task']}, {row['env_steps']:,} env steps", []).append(cells)
    columns = ["seeds", "last test, IQM (95 %)", "worst", "along the run, IQM (95 %)", "P(better than the first)"]
    for heading, rows in tables.items():
        print_table([[heading, *columns], *rows])


def _estimate(row: dict[str, Any]) -> str:
    return "{:,.6g} ({:,.6g} to {:,.6g})".format(row["iqm"], *row["interval"])


def print_report(report: Report) -> None:
    """Print what an examination of an environment found, a check a line, and remedies below the table."""
    rows = [[check.name, check.status, check.found] for check in report.checks]
    print_table([["", "", report.env], *rows], left=True)
    for check in report.checks:
        if check.remedy:
            print(f"{check.name}: {check.remedy}")
    failed, warned = len(report.failures), sum(check.status == "warning" for check in report.checks)
    print(f"{failed} failed, {warned} warned of" if failed + warned else "all passed")


def print_table(lines: Iterable[Sequence[str]], left: bool = False) -> None:
    """Print a table whose first line and first column are headings, as wide as it needs to be outside a terminal.

    Numbers stand to the right; ``left`` is for words.
    """
    headings, *rows = lines
    table = Table()
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number and not left else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = max(80, console.measure(table, options=console.options.update(max_width=10_000)).maximum)
    console.print(table)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:,.6g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)
