"""Losses: returns, the partition TD loss of Eq. 1, and what learns with a loss of its own."""

from lomaq.objectives.qtran import QTRAN
from lomaq.objectives.returns import lambda_returns
from lomaq.objectives.td import PartitionTD, ValueNetworks

__all__ = ["QTRAN", "PartitionTD", "ValueNetworks", "lambda_returns"]
