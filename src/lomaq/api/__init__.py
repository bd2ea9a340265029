"""Train, load, compare and act from Python: what ``lomaq`` itself offers."""

from lomaq.api.environments import make, random_return, register_envs
from lomaq.api.policy import Policy, load
from lomaq.api.runs import Trained, certify, compare, resume, study, train

__all__ = [
    "Policy",
    "Trained",
    "certify",
    "compare",
    "load",
    "make",
    "random_return",
    "register_envs",
    "resume",
    "study",
    "train",
]
