"""Training: exploration, collection, replay, the LightningModule and its callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lomaq.later import later

if TYPE_CHECKING:
    from lomaq.errors import NonFiniteLossError
    from lomaq.nn.exploration import Epsilon
    from lomaq.training.module import LomaqModule
    from lomaq.training.settings import LearnerSettings

__all__ = ["Epsilon", "LearnerSettings", "LomaqModule", "NonFiniteLossError"]
#: Settings are composed without Lightning.
__getattr__, __dir__ = later(
    __name__,
    {
        "Epsilon": "lomaq.nn.exploration",
        "LearnerSettings": "lomaq.training.settings",
        "LomaqModule": "lomaq.training.module",
        "NonFiniteLossError": "lomaq.errors",
    },
)
