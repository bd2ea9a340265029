"""Certificates of critics: what they ask, what they say, and their picture."""

import json
import math

import pytest
import torch
from matplotlib.image import imread

from lomaq.analysis.certificate.critic import certify_critics
from lomaq.analysis.certificate.gradient import gradient
from lomaq.analysis.certificate.probe import Probe
from lomaq.graphs import AgentGraph, Partition
from lomaq.nn import Utilities
from lomaq.objectives.block_critic import BlockCritic
from lomaq.plots.certificate import draw_certificate


def a_gradient(distances=4, signal=1.0, kappa=1, episodes=12):
    """What 12 episodes with shells of gradients that halve from hop to hop say."""
    generator = torch.Generator().manual_seed(0)
    sizes = signal * 0.5 ** torch.arange(distances)[:, None]
    each = sizes + 0.2 * torch.randn(episodes, distances, 30, generator=generator)
    return gradient(each, kappa, episodes, 1)


def certificate(change=None, n=6, kappa=1, states=8, **shape):
    """Certificate of critics on a line, ``change`` being done to what they see and say."""
    torch.manual_seed(0)
    graph, partition = AgentGraph.line(n), Partition.singletons(n)
    critic = BlockCritic(Utilities(graph, 3, 2), graph, partition, kappa, 8)
    seen = torch.randn(states, n, 3)

    def values(_, x):
        return critic(x)[..., 0] if change is None else change(critic(x)[..., 0], x)

    probe = Probe(values, graph, partition, kappa, torch.zeros(states, n), seen)
    return certify_critics(probe, a_gradient(kappa=kappa, **shape))


def test_sound_critics_get_their_certificate_line_by_line_and_no_word_of_what_is_asked_of_mixers():
    found = certificate()
    assert found.passed
    assert (found.n_agents, found.n_blocks, found.kappa, found.n_states) == (6, 6, 1, 8)
    local, consistent, truncated, share = found.lines()
    assert local == "local       pass  not one bit changed in 20 pairs of block and agent beyond 1 hop at 8 states"
    assert consistent == "consistent  pass  the same values again, in another order and for 8 states alone"
    assert truncated.startswith("truncation        mean error ")
    assert share.startswith("gradient          5")
    assert " of it within k=0, 7" in share
    assert " (± standard error; of all within 3 hops, in 12 episodes); beyond κ=1: 2" in share
    assert not {"monotone", "IGM", "QSM"} & {name for name, _, _ in found.checks()}


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        (lambda values, x: values + 1e-3 * x[..., 0].roll(3, -1), {"local"}),
        (lambda values, x: values + x[..., 0].mean(), {"local", "consistent"}),
        (lambda values, x: values * math.nan, {"local"}),
    ],
    ids=["leaking", "of other states", "NaN"],
)
def test_broken_critics_fail_where_they_are_broken(change, failed):
    found = certificate(change)
    assert not found.passed
    assert failed == {name for name, passed, _ in found.checks() if passed is False}
    assert found.to_json()["passed"] is False


def test_what_critics_see_is_replaced_not_their_utilities_alone():
    line = certificate(lambda values, x: values + x[..., 2].roll(3, -1)).lines()[0]
    assert line.startswith("local       FAIL  6 blocks changed, by up to ")
    assert "; worst: block " in line
    assert " depends on agent " in line


def test_json_is_strict_and_complete():
    content = json.loads(json.dumps(certificate(signal=0.0).to_json(), allow_nan=False))
    sizes = {"passed", "n_agents", "n_blocks", "kappa", "n_states"}
    assert content.keys() == sizes | {"locality", "consistency", "truncation", "gradient", "decay"}
    assert content["locality"]["passed"] is content["consistency"]["passed"] is True
    assert content["gradient"]["detected"] is False
    assert (content["gradient"]["share"], content["gradient"]["beyond"]) == ([], None)


@pytest.mark.parametrize(
    "options",
    [{}, {"kappa": 0}, {"kappa": 3}, {"signal": 0.0}, {"signal": 0.1}, {"distances": 1}, {"distances": 40}],
    ids=["usual", "kappa 0", "nothing beyond", "not detected", "noisy", "one block", "far"],
)
def test_every_certificate_of_critics_can_be_drawn(tmp_path, options):
    draw_certificate(tmp_path / "certificate.png", certificate(**options), "a line")
    picture = imread(tmp_path / "certificate.png")
    assert picture.shape[:2] == (960, 1080)
    assert picture[..., :3].std() > 0.05
