"""LOMAQ: cooperative multi-agent reinforcement learning on a graph of agents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lomaq.later import later

if TYPE_CHECKING:
    from lomaq.api import (
        Policy,
        Trained,
        certify,
        compare,
        load,
        make,
        random_return,
        register_envs,
        resume,
        study,
        train,
    )
    from lomaq.envs import BatchedEnv, Rollout
    from lomaq.errors import InputError
    from lomaq.evaluation import RandomActor
    from lomaq.graphs import AgentGraph, Partition
    from lomaq.plots.certificate import draw_certificate
    from lomaq.plots.decomposition import draw_decomposition
    from lomaq.plots.graph_plot import draw_graph
    from lomaq.plots.graph_view import GraphView
    from lomaq.runs.callback import Callback, Progress

__version__ = "0.1.0"
__all__ = [
    "AgentGraph",
    "BatchedEnv",
    "Callback",
    "GraphView",
    "InputError",
    "Partition",
    "Policy",
    "Progress",
    "RandomActor",
    "Rollout",
    "Trained",
    "__version__",
    "certify",
    "compare",
    "draw_certificate",
    "draw_decomposition",
    "draw_graph",
    "load",
    "make",
    "random_return",
    "register_envs",
    "resume",
    "study",
    "train",
]
__getattr__, __dir__ = later(
    __name__,
    {
        "GraphView": "lomaq.plots.graph_view",
        **dict.fromkeys(("Callback", "Progress"), "lomaq.runs.callback"),
        "InputError": "lomaq.errors",
        "RandomActor": "lomaq.evaluation",
        "draw_certificate": "lomaq.plots.certificate",
        "draw_decomposition": "lomaq.plots.decomposition",
        "draw_graph": "lomaq.plots.graph_plot",
        **dict.fromkeys(("AgentGraph", "Partition"), "lomaq.graphs"),
        **dict.fromkeys(("BatchedEnv", "Rollout"), "lomaq.envs"),
        **dict.fromkeys(("Policy", "Trained", "certify", "compare", "load", "make"), "lomaq.api"),
        **dict.fromkeys(("random_return", "register_envs", "resume", "study", "train"), "lomaq.api"),
    },
)
