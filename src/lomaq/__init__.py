"""LOMAQ: cooperative multi-agent reinforcement learning on a graph of agents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lomaq.later import later

if TYPE_CHECKING:
    from lomaq.api import Policy, Trained, compare, load, make, register_envs, study, train
    from lomaq.envs import BatchedEnv, Rollout
    from lomaq.errors import InputError
    from lomaq.evaluation import RandomActor
    from lomaq.graphs import AgentGraph, Partition
    from lomaq.plots.certificate import draw_certificate
    from lomaq.plots.decomposition import draw_decomposition
    from lomaq.plots.graph_plot import draw_graph
    from lomaq.plots.graph_view import GraphView

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
    "make",
    "register_envs",
    "study",
    "train",
]
__getattr__, __dir__ = later(
    __name__,
    {
        "GraphView": "lomaq.plots.graph_view",
        "InputError": "lomaq.errors",
        "RandomActor": "lomaq.evaluation",
        "draw_certificate": "lomaq.plots.certificate",
        "draw_decomposition": "lomaq.plots.decomposition",
        "draw_graph": "lomaq.plots.graph_plot",
        **dict.fromkeys(("AgentGraph", "Partition"), "lomaq.graphs"),
        **dict.fromkeys(("BatchedEnv", "Rollout"), "lomaq.envs"),
        **dict.fromkeys(
            ("Policy", "Trained", "compare", "load", "make", "register_envs", "study", "train"), "lomaq.api"
        ),
    },
)
