"""Test episodes: who acts in them, and how they are played; for training, films and whoever examines a run."""

from lomaq.evaluation.actors import Actor, BaselineActor, GreedyActor, RandomActor, SampleActor
from lomaq.evaluation.episodes import Played, evaluate, make_test_env

__all__ = [
    "Actor",
    "BaselineActor",
    "GreedyActor",
    "Played",
    "RandomActor",
    "SampleActor",
    "evaluate",
    "make_test_env",
]
