"""What a certificate is for: every broken mixer gets none, every honest one gets one."""

import itertools

import pytest
import torch
from torch.nn import functional

from lomaq.analysis.certificate.mixer import certify
from lomaq.analysis.certificate.probe import Probe
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import GCNMixer, GraphMIXMixer, MaskedMLPMixer, QMIXMixer, SumMixer

N = 15
LINE, SINGLETONS = AgentGraph.line(N), Partition.singletons(N)


def around(utilities):
    """Sum over each agent's neighbours on the line."""
    padded = functional.pad(utilities, (1, 1))
    return padded[..., :-2] + padded[..., 2:]


def numbered(utilities):
    """The place of each state in its batch, ``[..., 1]``."""
    return torch.arange(len(utilities)).view(-1, *[1] * (utilities.dim() - 1))


def in_the_way(utilities, observations):
    observations += 1
    return utilities


#: Mixers on a line with kappa = 1 that pretend to be monotone, and the checks that must find them out.
BROKEN = {
    "falls": (lambda u, _: u - 0.4 * around(u), {"monotone"}),
    "falls behind a detached gradient": (lambda u, _: u - 2 * around(u).detach(), {"monotone", "IGM", "QSM"}),
    "falls in its own detached part": (lambda u, _: u - 2 * u.detach(), {"monotone", "IGM"}),
    "a falling staircase": (lambda u, _: torch.floor(-4 * u), {"monotone", "IGM"}),
    "a falling staircase by rounding": (lambda u, _: torch.round(-4 * u), {"monotone", "IGM"}),
    "a saw": (lambda u, _: u - 0.5 * torch.round(4 * u), {"monotone"}),
    "one jump": (lambda u, _: u - 0.5 * (u > 0.3).to(u.dtype), {"monotone"}),
    "a narrow dip": (lambda u, _: u - 5.0 * ((u - 0.5).abs() < 0.01).to(u.dtype), {"monotone"}),
    "a narrow dip of a neighbour": (lambda u, _: u + around(u - 5.0 * ((u - 0.5).abs() < 0.01)), {"monotone"}),
    "a jump where both neighbours are good": (lambda u, _: u - 4.0 * (around(u) > 2).to(u.dtype), {"monotone"}),
    "falls far outside": (lambda u, _: u - 2 * (u.detach() - 50).clamp(min=0), {"monotone"}),
    "one agent falls": (lambda u, _: u * torch.tensor([1.0] * 9 + [-1.0] + [1.0] * 5), {"monotone", "IGM"}),
    "one agent falls behind a detached gradient": (
        lambda u, _: u - 2 * u.detach() * torch.eye(N)[9],
        {"monotone", "IGM"},
    ),
    "falls beyond kappa": (lambda u, _: u - 0.4 * u.roll(3, -1), {"local"}),
    "falls beyond kappa behind a detached gradient": (lambda u, _: u - 2 * u.roll(3, -1).detach(), {"local", "IGM"}),
    "depends on observations beyond kappa": (lambda u, o: u + 1e-3 * o[..., 0].roll(3, -1), {"local"}),
    "subtracts the mean of the batch": (lambda u, _: u - u.mean(dim=0), {"consistent"}),
    "divides by the spread of the batch": (lambda u, _: u / (1 + u.abs().amax(dim=0)), {"consistent"}),
    "depends on the order of the batch": (lambda u, _: u + numbered(u), {"consistent"}),
    "drops units": (lambda u, _: functional.dropout(u, 0.1), {"consistent"}),
    "NaN for some": (lambda u, _: torch.where(u > 1.5, torch.nan, u), {"monotone"}),
    "infinite": (lambda u, _: u / 0, {"monotone"}),
    "xor": (lambda u, _: -(u - 1) * around(u), {"monotone", "IGM"}),
}  # fmt: skip
#: Mixers that break the contract of a mixer, which is refused in one line.
REFUSED = {
    "too few blocks": (lambda u, _: u[..., 1:], r"mixer: expected block values, floating-point \[32, 15\], of"),
    "one number a state": (lambda u, _: u.sum(dim=-1), r"mixer: expected block values, .* got torch.float32 \[32\]"),
    "whole numbers": (lambda u, _: u.long(), "mixer: expected block values, .* got torch.int64"),
    "no tensor": (lambda u, _: u.tolist(), "mixer: expected block values, .* got list"),
    "changes utilities in place": (lambda u, _: u.mul_(2), "mixer: expected a function that leaves its inputs alone"),
    "changes observations in place": (in_the_way, "mixer: expected .* got one that changes the observations"),
    "no gradient at all": (lambda u, _: -u.detach(), "mixer: expected block values that can be differentiated"),
}  # fmt: skip


def examine(mixer, scale=1.0, n_actions=3, graph=LINE, partition=SINGLETONS, kappa=1, states=32, seed=0, offset=0.0):
    """Certificate at random states; utilities have spread ``scale`` and mean ``offset`` times that."""
    generator = torch.Generator().manual_seed(seed)
    n = graph.n_agents
    utilities = scale * (offset + torch.randn(states, n, n_actions, generator=generator))
    observations = torch.randn(states, n, 2, generator=generator)
    chosen = utilities[torch.arange(states)[:, None], torch.arange(n), torch.randint(n_actions, (states, n))]
    return certify(Probe(mixer, graph, partition, kappa, chosen, observations), utilities, seed=seed, samples=16)


def failed(found):
    return {name for name, passed, _ in found.checks() if passed is False}


#: Every broken mixer at size 1, and one half of them small, the other large; the rest takes longer.
SCALES = {"of size 1": 1.0, "small": 1e-6, "large": 1e6}
AT_A_SCALE = [
    pytest.param(
        *BROKEN[name],
        scale,
        id=f"{name}-{size}",
        marks=() if scale == 1.0 or number % 2 == (size == "large") else pytest.mark.slow,
    )
    for number, name in enumerate(BROKEN)
    for size, scale in SCALES.items()
]


@pytest.mark.parametrize(("mixer", "where", "scale"), AT_A_SCALE)
def test_a_broken_mixer_gets_no_certificate_at_any_scale(mixer, where, scale):
    scaled = lambda u, o: scale * mixer(u / scale, o)  # noqa: E731
    for seed in range(3 if scale == 1.0 else 1):
        torch.manual_seed(seed)
        found = examine(scaled, scale, seed=seed)
        assert not found.passed
        assert where <= failed(found), found.lines()
        assert found.proof is None


@pytest.mark.parametrize(("mixer", "line"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_mixer_is_refused_in_one_line(mixer, line):
    with pytest.raises(InputError, match=line):
        examine(mixer)


def test_a_staircase_that_rises_is_monotone_and_the_line_says_that_nothing_trains_through_it():
    found = examine(lambda u, _: torch.round(4 * u))
    assert found.passed, found.lines()  # ties: greedy utilities still give every block its maximum
    assert ", all 0, so that nothing trains through the mixer" in found.lines()[0]


def test_a_fall_names_block_agent_and_where():
    found = examine(lambda u, _: torch.stack([*u.unbind(-1)[:-1], -u[..., -2].detach() + u[..., -1]], dim=-1))
    worst = found.differences
    assert (worst.block, worst.agent) == (14, 13)
    assert worst.fell_from < worst.fell_to
    assert worst.largest == pytest.approx(worst.fell_to - worst.fell_from, rel=1e-4)
    assert f"worst: block 14 where the utility of agent 13 rises from {worst.fell_from:.4g} to " in found.lines()[0]


# --------------------------------------------------------------- honest mixers


def honest(seed):
    """A random graph, partition, kappa and monotone mixer, and the scale and offset of its utilities."""
    torch.manual_seed(seed)
    pick = lambda *options: options[int(torch.randint(len(options), ()))]  # noqa: E731
    n = int(torch.randint(2, 13, ()))
    pairs = [(a, b) for a, b in itertools.combinations(range(n), 2) if torch.rand(()) < 0.3]
    graph = AgentGraph.from_edges(n, pairs)
    owner = torch.randint(n, (n,))
    partition = Partition([torch.nonzero(owner == k)[:, 0].tolist() for k in owner.unique()], n)
    kind, kappa = pick("mlp", "mlp", "mlp", "gcn", "gcn", "sum", "qmix", "graphmix"), pick(0, 1, 2, 3)
    shared = {
        "hidden": pick(2, 6, 32),
        "monotonicity": pick("projection", "reparametrisation"),
        "activation": pick("elu", "split"),
        "init": pick("mean", "normal", "decayed", "negative_bias"),
        "weight_sharing": pick(0.0, 0.3, 1.0),
    }
    if kind == "mlp":
        state = pick("none", "local")
        mixer = MaskedMLPMixer(
            graph, partition, kappa, share=pick("ego", "all", "none"), state=state, obs_size=2, **shared
        )
    elif kind == "gcn":
        mixer = GCNMixer(graph, partition, kappa, **shared)
    elif kind == "sum":
        mixer = SumMixer(graph, partition, kappa)
    else:
        partition, kappa = Partition.full(n), 0
        mixer = {"qmix": QMIXMixer, "graphmix": GraphMIXMixer}[kind](graph, partition, 2, pick(4, 16), 8)
    scatter, biases = pick(0.0, 0.1, 1.0, 10.0), pick(1.0, 1.0, 100.0)  # untrained, trained, extreme
    with torch.no_grad():
        for name, parameter in mixer.named_parameters():
            parameter.add_(scatter * (biases if ".b" in f".{name}" else 1.0) * torch.randn_like(parameter))
    mixer.project_()
    mixer.rescale_(pick(1.0, 1e-6, 1e6))
    return mixer.eval(), graph, partition, kappa, pick(1.0, 1.0, 1e-6, 1e6, 30.0), pick(0.0, 0.0, 1e3)


@pytest.mark.parametrize("first", [0, pytest.param(12, marks=pytest.mark.slow)])
def test_monotone_mixers_of_every_kind_size_and_scale_get_theirs(first):
    for seed in range(first, 12 if first == 0 else 300):
        mixer, graph, partition, kappa, scale, offset = honest(seed)
        for examined in (mixer, lambda u, o, mixer=mixer: mixer(u, o)):
            found = examine(examined, scale, 1 + seed % 4, graph, partition, kappa, 8, seed, offset)
            assert found.passed, (seed, type(mixer).__name__, scale, offset, found.lines())
        assert (found.proof, mixer.proof() is None) == (None, False)
