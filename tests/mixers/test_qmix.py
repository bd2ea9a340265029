"""QMIX: against plain NumPy, monotone, and for one block only."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import QMIXMixer

N, OBS, M = 3, 2, 5


def mixer(**options) -> QMIXMixer:
    torch.manual_seed(0)
    return QMIXMixer(AgentGraph.line(N), Partition.full(N), obs_size=OBS, hidden=4, hyper_hidden=6, **options)


def seen():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(M, N, generator=generator), torch.randn(M, N, OBS, generator=generator)


def test_values_equal_a_plain_loop():
    utilities, observations = seen()
    qmix = mixer(observation_scale=[2.0, 0.5])
    got = qmix(utilities, observations)

    def linear(layer, x):
        return layer.weight.detach().double().numpy() @ x + layer.bias.detach().double().numpy()

    for m in range(M):
        state = (observations[m].double().numpy() * [2.0, 0.5]).reshape(-1)
        x = linear(qmix.body[0], state)
        x = np.maximum((x - x.mean()) / np.sqrt(x.var() + 1e-5), 0)
        w1 = np.abs(linear(qmix.w1, x)).reshape(N, 4)
        hidden = utilities[m].double().numpy() @ w1 + linear(qmix.b1, x)
        hidden = np.where(hidden > 0, hidden, np.expm1(hidden))
        value = linear(qmix.value[2], np.maximum(linear(qmix.value[0], x), 0))[0]
        assert got[m, 0].item() == pytest.approx(hidden @ np.abs(linear(qmix.w2, x)) + value, abs=1e-5)


def test_the_value_rises_with_every_utility_in_every_state():
    utilities, observations = seen()
    utilities.requires_grad_()
    (slope,) = torch.autograd.grad(mixer()(utilities, observations).sum(), utilities)
    assert slope.min() > 0


def test_the_state_decides_the_slopes():
    utilities, observations = seen()
    same = utilities[:1].expand(M, -1).clone().requires_grad_()
    (slope,) = torch.autograd.grad(mixer()(same, observations).sum(), same)
    assert (slope - slope[:1]).abs().amax() > 1e-3


def test_leading_dimensions_are_kept():
    utilities, observations = seen()
    qmix = mixer()
    flat = qmix(utilities, observations)
    assert flat.shape == (M, 1)
    torch.testing.assert_close(qmix(utilities[:, None], observations[:, None]), flat[:, None])


def test_rescaling_multiplies_the_values():
    utilities, observations = seen()
    qmix = mixer()
    before = qmix(utilities, observations)
    qmix.rescale_(0.25)
    torch.testing.assert_close(qmix(utilities, observations), before * 0.25)


def test_several_blocks_are_refused_with_the_remedy():
    with pytest.raises(InputError, match=r"partition: expected full for QMIXMixer, got 3 blocks; .*state=local"):
        QMIXMixer(AgentGraph.line(N), Partition.singletons(N), obs_size=OBS)
