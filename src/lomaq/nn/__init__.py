"""Networks: utilities of the agents and the monotone pieces that mixers are made of."""

from lomaq.nn.monotone import ACTIVATIONS, CONSTRAINTS, STARTS, activate, effective_weight, start_bias, start_weight_
from lomaq.nn.utility import Utilities, observation_factors

__all__ = [
    "ACTIVATIONS",
    "CONSTRAINTS",
    "STARTS",
    "Utilities",
    "activate",
    "effective_weight",
    "observation_factors",
    "start_bias",
    "start_weight_",
]
