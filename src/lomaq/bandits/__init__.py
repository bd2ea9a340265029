"""Section 3.2: the linear bandit with a reward for each block of a partition, Multi-OFUL and Theorem 1."""

from lomaq.bandits.bound import Constants
from lomaq.bandits.linear import LinearBandit, draw_parameters
from lomaq.bandits.oful import MultiOFUL
from lomaq.bandits.play import UniformArms, play

__all__ = ["Constants", "LinearBandit", "MultiOFUL", "UniformArms", "draw_parameters", "play"]
