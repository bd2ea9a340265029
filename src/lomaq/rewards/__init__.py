"""Where the reward of a block comes from."""

from lomaq.rewards.learned import DecomposedReward
from lomaq.rewards.settings import FitSettings, GateSettings, NetworkSettings
from lomaq.rewards.source import BlockReward, RewardSource

__all__ = ["BlockReward", "DecomposedReward", "FitSettings", "GateSettings", "NetworkSettings", "RewardSource"]
