"""Batched environments on graphs of agents."""

from lomaq.envs.base import BatchedEnv
from lomaq.envs.cartpole import CartPole
from lomaq.envs.matrix import MatrixGame
from lomaq.envs.navigation import Navigation

__all__ = ["BatchedEnv", "CartPole", "MatrixGame", "Navigation"]
