"""What a run says at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def report(summary: dict[str, Any], run_dir: Path) -> None:
    """Print the result as one table and the paths."""
    if not summary:
        return  # a process that does not lead
    console = Console()
    table = Table(title=f"{summary['algorithm']} on {summary['env']}, {summary['n_agents']} agents", show_header=False)
    rows = {
        "test return, last": f"{summary['test_return_mean']:,.1f}",
        "test return, best": f"{summary['best_test_return_mean']:,.1f}",
        **{name: f"{value:,.1f}" for name, value in summary["references"].items()},
        "per agent, last": f"{summary['test_return_per_agent']:.2f}",
        "first reached": ", ".join(
            f"{float(name):,.0f} at {steps / 1000:,.0f} K"
            for name, steps in summary["first_env_steps_at"].items()
            if steps is not None
        )
        or "no threshold",
    }
    learned = "mixer" in summary
    if learned:
        rows |= {
            "env steps": f"{summary['env_steps']:,}",
            "training": f"{summary['wall_seconds']:,.1f} s, {summary['env_steps_per_second']:,.0f} env steps/s",
            "mixer": f"{summary['mixer']}, κ={summary['kappa']}, {summary['n_blocks']} blocks",
            "parameters": f"{summary['parameters']:,}",
        }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)
    paths: dict[str, Path | str] = {"curve": run_dir / "curve.png", "summary": run_dir / "summary.json"}
    if learned:
        paths |= {"checkpoint": run_dir / "checkpoints/best.ckpt", "play": f"python evaluate.py checkpoint={run_dir}"}
    for what, where in paths.items():
        console.print(f"{what:<11}{where}", highlight=False, soft_wrap=True)
