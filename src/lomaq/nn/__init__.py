"""Networks: utilities of the agents, how they choose by them, and the monotone pieces that mixers are made of."""

from lomaq.nn.acting import ActingState, ActionSelector, epsilon_greedy, epsilon_softmax, gather_actions, softmax_policy
from lomaq.nn.coordination import CoordinationGraph, max_plus
from lomaq.nn.monotone import ACTIVATIONS, CONSTRAINTS, INITS, activate, effective_weight, init_bias, init_weight_
from lomaq.nn.utility import Utilities, observation_factors

__all__ = [
    "ACTIVATIONS",
    "CONSTRAINTS",
    "INITS",
    "ActingState",
    "ActionSelector",
    "CoordinationGraph",
    "Utilities",
    "activate",
    "effective_weight",
    "epsilon_greedy",
    "epsilon_softmax",
    "gather_actions",
    "init_bias",
    "init_weight_",
    "max_plus",
    "observation_factors",
    "softmax_policy",
]
