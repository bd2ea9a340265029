"""Batched environments on graphs of agents."""

from lomaq.envs.base import BatchedEnv, PolicyFn, Step
from lomaq.envs.cartpole import CartPole
from lomaq.envs.matrix import MatrixGame
from lomaq.envs.navigation import Navigation
from lomaq.envs.polymatrix import PolymatrixGame
from lomaq.envs.rollout import Rollout
from lomaq.envs.sysadmin import SysAdmin
from lomaq.envs.two_step import TwoStep
from lomaq.envs.voltage import Voltage

__all__ = [
    "BatchedEnv",
    "CartPole",
    "MatrixGame",
    "Navigation",
    "PolicyFn",
    "PolymatrixGame",
    "Rollout",
    "Step",
    "SysAdmin",
    "TwoStep",
    "Voltage",
]
