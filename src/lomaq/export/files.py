"""The folder that an export leaves: the policies and their contract, whole or not at all."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lomaq.analysis.stored import FRESH_SEED, Checkpoint
from lomaq.envs import BatchedEnv
from lomaq.errors import INSTALL, InputError, check_choice
from lomaq.export.parity import Parity, ParityError, compare
from lomaq.export.policy import ExportedPolicy, Format, open_policy, write_policy
from lomaq.nn import Utilities
from lomaq.runs import RunFiles
from lomaq.training.build import NOTES, env_maker, is_stochastic
from lomaq.training.run import versions

#: Ending of the files of each format.
ENDINGS = {"onnx": "onnx", "torch": "pt2"}
#: Packages that each format needs beyond this one's own.
PACKAGES: dict[str, tuple[str, ...]] = {"onnx": ("onnx", "onnxruntime", "onnxscript"), "torch": ()}
#: Of the layout of ``contract.json``.
FORMAT_VERSION = 1
#: Parallel environments that are played to compare; with their steps, 1,000 observations of each agent.
N_ENVS = 8


def export_checkpoint(stored: Checkpoint, output: str | Path, format: Format = "onnx") -> tuple[dict[str, Any], Parity]:
    """Write a policy for each agent type, and ``contract.json`` next to them, into a new folder.

    Args:
        stored: The checkpoint.
        output: The folder, new or empty; it appears whole, and only where the policies pass the comparison.
        format: ``onnx`` (for onnxruntime) or ``torch`` (``torch.export``, for PyTorch alone); one file a type.

    Returns:
        The contract, as written, and the comparison of the written policies with the trained network.

    Raises:
        InputError: If the folder is in use, a package is missing, or the agents of the checkpoint cannot act alone.
        ParityError: If a written policy differs from the network that was trained.
    """
    check_choice("format", format, ENDINGS)
    _require(format)
    folder = _unused(Path(output))
    env = env_maker(stored.config)(N_ENVS, FRESH_SEED, torch.device("cpu"))
    utilities = stored.utilities(env)
    if not utilities.decentralised:
        got = f"{type(utilities).__name__}, whose agents exchange messages to act"
        raise InputError("checkpoint", "agents that act alone", got)
    stochastic = is_stochastic(stored.config)
    policies = [ExportedPolicy(utilities, agent_type, stochastic) for agent_type in range(len(utilities.networks))]
    agents = [(env.graph.types == number).nonzero()[:, 0] for number in range(len(policies))]
    files = [f"policy-{number}.{ENDINGS[format]}" for number in range(len(policies))]
    with _appearing(folder) as temporary:
        for file, policy in zip(files, policies, strict=True):
            write_policy(policy, temporary / file, format)
        written = [open_policy(temporary / file, format) for file in files]
        inputs, outputs = ([port["name"] for port in ports] for ports in (policies[0].inputs, policies[0].outputs))
        parity = compare(written, agents, inputs, outputs, utilities, env)
        if not parity.passed:
            raise ParityError(
                f"parity: expected policies within {parity.tolerance:.1e} of the trained network, got {parity.line()}, "
                f"which gives away up to {parity.largest_loss:.1e}; nothing was written"
            )
        contract = {
            "format_version": FORMAT_VERSION,
            "format": format,
            **_about(stored, env, utilities),
            "policies": [
                {"file": file, "agents": mine.tolist(), "inputs": policy.inputs, "outputs": policy.outputs}
                for file, mine, policy in zip(files, agents, policies, strict=True)
            ],
            "parity": {**asdict(parity), "tolerance": parity.tolerance},
            "versions": versions() | {name: importlib.import_module(name).__version__ for name in PACKAGES[format]},
        }
        RunFiles(temporary).write_json("contract.json", contract)
    return contract, parity


def _require(format: Format) -> None:
    missing = [name for name in PACKAGES[format] if importlib.util.find_spec(name) is None]
    if missing:
        expected = f"the packages {', '.join(PACKAGES[format])} for {format}"
        remedy = f"{INSTALL.format('export')}, or take format=torch"
        raise InputError("format", expected, f"no {', '.join(missing)}", remedy)


def _unused(folder: Path) -> Path:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError("output", "a new or empty folder", folder, "choose another, nothing is overwritten")
    above = next(path for path in folder.absolute().parents if path.exists())
    if not above.is_dir():
        raise InputError("output", "a folder in which one can be made", f"the file {above}")
    return folder.resolve()


def _about(stored: Checkpoint, env: BatchedEnv, utilities: Utilities) -> dict[str, Any]:
    """What the policies were trained for."""
    settings = {k: v for k, v in stored.config["env"].items() if k not in NOTES}
    scale = utilities.observation_scale
    names = {"names": env.graph.names} if "names" in env.graph else {}
    return {
        "checkpoint": str(stored.path),
        "trained_env_steps": stored.env_steps,
        "environment": {"name": stored.config["env"]["name"], "settings": settings, "max_steps": env.max_steps},
        "n_agents": env.n_agents,
        "graph": {"n_agents": env.n_agents, "edges": env.graph.pairs.tolist(), **names},
        "normalisation": {
            "observation_scale": None if scale is None else scale.tolist(),
            "normalise": utilities.norm is not None,
            "applied": "inside the policy",
        },
    }


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A folder to fill in place of ``folder``: a temporary one next to it, moved there whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=folder.name, suffix=".tmp"))
    try:
        yield temporary
        temporary.chmod(0o755)
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
