"""Policies that act without this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lomaq.analysis.stored import open_checkpoint
from lomaq.cli.output import refuse
from lomaq.export import ParityError, export_checkpoint


def export(checkpoint: str, format: Any = "onnx", output: str | None = None) -> int:
    """Write policies that act without this package: lomaq export checkpoint=RUN.

    Writes one for each agent type, and contract.json, which describes their inputs and outputs. Checks on 1,000
    observations of every agent that the policies act as the trained network does. Exit status 1, and nothing written,
    if they do not. docs/export.md explains how to run them; examples/run_policy.py does, without this package.

    Args:
        checkpoint: PATH of a run folder (its best checkpoint) or of a checkpoint file.
        format: Format onnx (needs the extra export) or torch (.pt2, for PyTorch alone).
        output: FOLDER, new or empty; by default policy-onnx or policy-torch in the run folder.
    """
    stored = open_checkpoint(str(checkpoint), resume=False)
    folder = stored.run_dir / f"policy-{format}" if output is None else Path(str(output))
    try:
        contract, parity = export_checkpoint(stored, folder, format)
    except ParityError as error:
        return refuse(str(error), 1)
    print(f"parity     {parity.line()}")
    for policy in contract["policies"]:
        print(f"policy     {folder / policy['file']}, {len(policy['agents'])} agents")
    print(f"contract   {folder / 'contract.json'}")
    return 0
