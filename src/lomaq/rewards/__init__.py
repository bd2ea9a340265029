"""Where the reward of a block comes from."""

from lomaq.rewards.learned import DecomposedReward
from lomaq.rewards.returns import Returns, lambda_returns
from lomaq.rewards.settings import FitSettings, GateSettings, NetworkSettings, SharingSettings
from lomaq.rewards.sharing import LearnedSharing, ShareMatrix
from lomaq.rewards.source import BlockReward, RewardSource

__all__ = [
    "BlockReward",
    "DecomposedReward",
    "FitSettings",
    "GateSettings",
    "LearnedSharing",
    "NetworkSettings",
    "Returns",
    "RewardSource",
    "ShareMatrix",
    "SharingSettings",
    "lambda_returns",
]
