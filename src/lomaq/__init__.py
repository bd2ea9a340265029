"""LOMAQ: cooperative multi-agent reinforcement learning on a graph of agents."""

from lomaq.errors import InputError
from lomaq.graph import AgentGraph
from lomaq.partition import Partition
from lomaq.rollout import Rollout

__version__ = "0.1.0"
__all__ = ["AgentGraph", "InputError", "Partition", "Rollout", "__version__"]
