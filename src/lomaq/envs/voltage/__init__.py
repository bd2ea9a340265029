"""Reactive power control of a distribution feeder."""

from lomaq.envs.voltage.env import Voltage
from lomaq.envs.voltage.feeder import Feeder

__all__ = ["Feeder", "Voltage"]
