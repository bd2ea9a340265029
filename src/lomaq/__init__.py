"""LOMAQ: cooperative multi-agent reinforcement learning on a graph of agents."""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

with warnings.catch_warnings():  # tqdm, which PyG imports, asks for ipywidgets in notebooks; nothing here needs them
    warnings.filterwarnings("ignore", message="IProgress not found")
    import torch_geometric  # noqa: F401

from lomaq.envs import BatchedEnv, Rollout
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition

if TYPE_CHECKING:
    from lomaq.api import Policy, Trained, compare, load, study, train
    from lomaq.plots.certificate import draw_certificate
    from lomaq.plots.decomposition import draw_decomposition
    from lomaq.plots.graph_plot import draw_graph
    from lomaq.plots.graph_view import GraphView
    from lomaq.training.evaluation import RandomActor

__version__ = "0.1.0"
__all__ = [
    "AgentGraph",
    "BatchedEnv",
    "GraphView",
    "InputError",
    "Partition",
    "Policy",
    "RandomActor",
    "Rollout",
    "Trained",
    "__version__",
    "compare",
    "draw_certificate",
    "draw_decomposition",
    "draw_graph",
    "load",
    "study",
    "train",
]
#: Where the names are that take Lightning, hydra or matplotlib: those who want the graph alone need not wait for them.
_LATER = {
    "GraphView": "lomaq.plots.graph_view",
    **dict.fromkeys(("Policy", "Trained", "compare", "load", "study", "train"), "lomaq.api"),
    "RandomActor": "lomaq.training.evaluation",
    "draw_certificate": "lomaq.plots.certificate",
    "draw_decomposition": "lomaq.plots.decomposition",
    "draw_graph": "lomaq.plots.graph_plot",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module 'lomaq' has no attribute {name!r}")
