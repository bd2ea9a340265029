"""The certificate of a checkpoint."""

from __future__ import annotations

from typing import Any

from lomaq.analysis.certificate.checkpoint import certify_checkpoint
from lomaq.analysis.stored import open_checkpoint
from lomaq.inputs.text import folder_named
from lomaq.plots.certificate import draw_certificate
from lomaq.runs import RunFiles
from lomaq.runs.files import free_path


def certify(checkpoint: str, output: str | None = None, **options: Any) -> int:
    """Is the mixer monotone and local, or are the critics? lomaq certify RUN.

    Examines it at states that its agents visit, prints one line a check, and writes certificate.json and
    certificate.png. Exit status 1 if the mixer was found not to be monotone, not local, or no function of one state, or
    if greedy actions do not maximise (IGM, QSM) and it is not soft. Of agents that ascend critics' advantages it tells
    how much of the policy gradient comes from how far; status 1 if the critics are not local, or no function of one
    state. docs/certificate.md explains what each line proves and what it does not.

    Args:
        checkpoint: PATH of a run folder (its best checkpoint) or of a checkpoint file.
        output: FOLDER for the files; by default the run folder.
    """
    stored = open_checkpoint(str(checkpoint), resume=False)
    folder = stored.run_dir if output is None else folder_named("output", output)
    certificate = certify_checkpoint(stored, **options)
    config = stored.config
    folder.mkdir(parents=True, exist_ok=True)
    report = free_path(folder / "certificate.json", ".png")
    RunFiles(folder).write_json(report.name, {"checkpoint": str(stored.path), **certificate.to_json()})
    subject = f"{config[certificate.part]['name']} {certificate.subject}, κ = {certificate.kappa}"
    title = f"{subject}, on {config['env']['name']} after {stored.env_steps:,} env steps"
    draw_certificate(report.with_suffix(".png"), certificate, title)
    print("\n".join(certificate.lines()))
    print(f"report     {report}\npicture    {report.with_suffix('.png')}")
    return 0 if certificate.passed else 1
