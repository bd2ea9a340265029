"""Mixers F_J: the value of a block, monotone in the utilities of the agents within kappa hops."""

from lomaq.mixers.base import Mixer
from lomaq.mixers.gcn import GCNMixer
from lomaq.mixers.mlp import MaskedMLPMixer

__all__ = ["GCNMixer", "MaskedMLPMixer", "Mixer"]
