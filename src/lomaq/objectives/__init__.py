"""Losses: returns, and the partition TD loss of Eq. 1."""

from lomaq.objectives.returns import lambda_returns
from lomaq.objectives.td import PartitionTD, ValueNetworks

__all__ = ["PartitionTD", "ValueNetworks", "lambda_returns"]
