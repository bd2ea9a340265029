"""Losses: returns, the partition TD loss of Eq. 1, and what learns with a loss of its own."""

from lomaq.objectives.coma import COMA
from lomaq.objectives.dcg import DCG
from lomaq.objectives.graphmix import GraphMIX
from lomaq.objectives.qplex import QPLEX
from lomaq.objectives.qtran import QTRAN
from lomaq.objectives.returns import lambda_returns
from lomaq.objectives.td import PartitionTD, ValueNetworks
from lomaq.objectives.wqmix import WeightedQMIX

__all__ = [
    "COMA",
    "DCG",
    "QPLEX",
    "QTRAN",
    "GraphMIX",
    "PartitionTD",
    "ValueNetworks",
    "WeightedQMIX",
    "lambda_returns",
]
