"""Objectives: returns, the contract, the partition TD loss of Eq. 1, and methods with a loss of their own."""

from lomaq.objectives.base import Critic, Metrics, Objective, Targets, ValueNetworks
from lomaq.objectives.coma import COMA
from lomaq.objectives.dcg import DCG
from lomaq.objectives.graphmix import GraphMIX
from lomaq.objectives.ppo import PPO
from lomaq.objectives.q_learning import PartitionTD, QLearning
from lomaq.objectives.qplex import QPLEX
from lomaq.objectives.qtran import QTRAN
from lomaq.objectives.wqmix import WeightedQMIX
from lomaq.rewards.returns import Returns, lambda_returns

__all__ = [
    "COMA",
    "DCG",
    "PPO",
    "QPLEX",
    "QTRAN",
    "Critic",
    "GraphMIX",
    "Metrics",
    "Objective",
    "PartitionTD",
    "QLearning",
    "Returns",
    "Targets",
    "ValueNetworks",
    "WeightedQMIX",
    "lambda_returns",
]
