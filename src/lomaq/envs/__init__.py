"""Batched environments on graphs of agents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lomaq.later import later

if TYPE_CHECKING:
    from lomaq.envs.base import BatchedEnv, PolicyFn, Step
    from lomaq.envs.cartpole import CartPole
    from lomaq.envs.matrix import MatrixGame
    from lomaq.envs.navigation import Navigation
    from lomaq.envs.pettingzoo.cognac import Cognac
    from lomaq.envs.pettingzoo.env import PettingZoo
    from lomaq.envs.pettingzoo.outward import to_pettingzoo
    from lomaq.envs.polymatrix import PolymatrixGame
    from lomaq.envs.rollout import Rollout
    from lomaq.envs.sumo.env import Sumo
    from lomaq.envs.sysadmin import SysAdmin
    from lomaq.envs.two_step import TwoStep
    from lomaq.envs.voltage import Voltage

__all__ = [
    "BatchedEnv",
    "CartPole",
    "Cognac",
    "MatrixGame",
    "Navigation",
    "PettingZoo",
    "PolicyFn",
    "PolymatrixGame",
    "Rollout",
    "Step",
    "Sumo",
    "SysAdmin",
    "TwoStep",
    "Voltage",
    "to_pettingzoo",
]
#: Where the names are: the processes of simulators import this package and must not wait for torch.
_PLACES = {
    "CartPole": "cartpole",
    "Cognac": "pettingzoo.cognac",
    "MatrixGame": "matrix",
    "Navigation": "navigation",
    "PettingZoo": "pettingzoo.env",
    "PolymatrixGame": "polymatrix",
    "Rollout": "rollout",
    "Sumo": "sumo.env",
    "SysAdmin": "sysadmin",
    "TwoStep": "two_step",
    "Voltage": "voltage",
    "to_pettingzoo": "pettingzoo.outward",
    **dict.fromkeys(("BatchedEnv", "PolicyFn", "Step"), "base"),
}
__getattr__, __dir__ = later(__name__, {name: f"{__name__}.{place}" for name, place in _PLACES.items()})
