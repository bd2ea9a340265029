"""Where the reward of a block comes from."""

from lomaq.rewards.source import RewardSource

__all__ = ["RewardSource"]
