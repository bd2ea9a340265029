"""Who should answer for whom? Rewards shared by a fixed or a learned matrix, beside methods that have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lomaq.analysis.certificate.checkpoint import certify_checkpoint
from lomaq.analysis.certificate.mixer import MixerCertificate
from lomaq.analysis.stored import open_checkpoint
from lomaq.envs.sysadmin.exact import EXACT_LIMIT
from lomaq.runs import RunFiles, RunRecord
from lomaq.studies.report import Case, draw, rows_of

#: What W of a run is, in words.
MATRICES = {"none": "W = I", "equal": "one hop, equal", "learned": "learned W"}


def case_of(run: RunRecord) -> Case:
    """The task and the method, in the words of docs/sharing.md, and the budget."""
    env, settings = run.config["env"], run.settings
    task = f"{env['name']}, {run.summary['n_agents']} agents"
    if env["name"] == "sysadmin":
        cost = env["cost"] if isinstance(env["cost"], list) else f"{env['cost']:g}"
        wrong = ", shuffled" if env["permute"] is not False else ""
        task = f"{env['graph']} of {run.summary['n_agents']}, cost {cost}{wrong}"
    method = run.config["algo"]["label"]
    if "reward.share" in settings:
        method += f", {MATRICES[settings['reward.share']]}"
    elif settings.get("mixer.weight_sharing"):
        method += f", weight_sharing={settings['mixer.weight_sharing']}"
    return Case(task, method, run.config["total_env_steps"])


def report(folder: Path, runs: list[RunRecord]) -> dict[str, Any]:
    """The rows of :func:`lomaq.studies.report.rows_of`, with what learned matrices do, and one plot.

    The reference is the exact optimum up to 8 machines and the best threshold policy, simulated, beyond; of a wrong
    graph that of the right one. ``passed_on`` is the mean share of an agent's reward that others get in the end,
    ``conflict`` the exact share of (state, agent) in which blocks disagree then, with W and with W = I (None with more
    than 8 machines).
    """
    rows = rows_of(sorted(runs, key=case_of), case_of)
    for row in rows:
        mine = [run.found for run in runs if case_of(run) == Case(*(row[name] for name in Case._fields))]
        if "passed_on" in mine[0]:
            row |= {key: [found[key] for found in mine] for key in ("passed_on", "conflict")}
    draw(folder, {"rows": rows})
    return {"rows": rows}


def found(run: RunRecord) -> dict[str, Any]:
    """The last ``passed_on`` of a run that has ended, and its ``conflict``; nothing where no matrix is learned."""
    noted = [row["passed_on"] for row in RunFiles(run.folder).read_metrics()[1] if row.get("passed_on")]
    return {"passed_on": float(noted[-1]), "conflict": _conflict(run)} if noted else {}


def _conflict(run: RunRecord) -> list[float] | None:
    """Exact shares of disagreement in the last checkpoint of a run, with its W and with W = I; None where not exact."""
    if run.config["env"]["name"] != "sysadmin" or run.summary["n_agents"] > EXACT_LIMIT:
        return None
    certificate = certify_checkpoint(open_checkpoint(run.folder, resume=True), states=2, samples=2)
    assert isinstance(certificate, MixerCertificate)
    assert certificate.conflict is not None
    assert certificate.conflict.share is not None
    return list(certificate.conflict.share)
