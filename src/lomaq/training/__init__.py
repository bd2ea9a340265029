"""Training: exploration, collection, replay, the LightningModule and its callbacks."""

from lomaq.training.exploration import Epsilon
from lomaq.training.module import LomaqModule, NonFiniteLossError
from lomaq.training.settings import LearnerSettings

__all__ = ["Epsilon", "LearnerSettings", "LomaqModule", "NonFiniteLossError"]
