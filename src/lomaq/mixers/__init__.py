"""Mixers F_J: the value of a block, monotone in the utilities of the agents within kappa hops."""

from lomaq.mixers.base import Mixer, MonotoneNetwork, StateMixer
from lomaq.mixers.gcn import GCNMixer
from lomaq.mixers.graphmix import GraphMIXMixer
from lomaq.mixers.mlp import MaskedMLPMixer
from lomaq.mixers.qmix import QMIXMixer
from lomaq.mixers.sum import SumMixer

__all__ = [
    "GCNMixer",
    "GraphMIXMixer",
    "MaskedMLPMixer",
    "Mixer",
    "MonotoneNetwork",
    "QMIXMixer",
    "StateMixer",
    "SumMixer",
]
