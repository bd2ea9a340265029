"""Training: exploration, collection, replay, the LightningModule and its callbacks."""

from lomaq.errors import NonFiniteLossError
from lomaq.nn.exploration import Epsilon
from lomaq.training.module import LomaqModule
from lomaq.training.settings import LearnerSettings

__all__ = ["Epsilon", "LearnerSettings", "LomaqModule", "NonFiniteLossError"]
