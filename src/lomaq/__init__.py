"""LOMAQ: cooperative multi-agent reinforcement learning on a graph of agents."""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

with warnings.catch_warnings():  # tqdm, which PyG imports, asks for ipywidgets in notebooks; nothing here needs them
    warnings.filterwarnings("ignore", message="IProgress not found")
    import torch_geometric  # noqa: F401

from lomaq.envs import Rollout
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition

if TYPE_CHECKING:
    from lomaq.api import Policy, Trained, load, train

__version__ = "0.1.0"
__all__ = [
    "AgentGraph",
    "InputError",
    "Partition",
    "Policy",
    "Rollout",
    "Trained",
    "__version__",
    "load",
    "train",
]


def __getattr__(name: str) -> Any:
    """Lightning and hydra take seconds to import; those who want the graph alone need not wait."""
    if name in ("Policy", "Trained", "load", "train"):
        return getattr(importlib.import_module("lomaq.api"), name)
    raise AttributeError(f"module 'lomaq' has no attribute {name!r}")
