"""Who answers for which reward: r′ = W r with non-negative W whose columns sum to 1, so that no reward is lost."""

from lomaq.rewards.sharing.conflicts import Conflicts, Opposition
from lomaq.rewards.sharing.effects import NETWORKS, ActionEffects
from lomaq.rewards.sharing.learned import LearnedSharing, drawn_states
from lomaq.rewards.sharing.matrix import ShareMatrix, nearest_distribution

__all__ = [
    "NETWORKS",
    "ActionEffects",
    "Conflicts",
    "LearnedSharing",
    "Opposition",
    "ShareMatrix",
    "drawn_states",
    "nearest_distribution",
]
