"""Sizes that do not fit are refused before they are allocated."""

from __future__ import annotations

import resource
import time

import pytest
import torch
from torch import nn

from lomaq.config import compose
from lomaq.errors import InputError, is_out_of_memory
from lomaq.inputs.memory import Bounded, TooLargeError, fitting
from lomaq.training.build import build_run, env_maker


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: torch.empty(10, 100), 4000),
        (lambda: torch.zeros((10, 100), dtype=torch.bool), 1000),
        (lambda: torch.zeros(1).new_zeros(10, 100), 4004),
        (lambda: torch.rand(1000, generator=torch.Generator()), 4000),
        (lambda: torch.arange(1000), 8000),
        (lambda: nn.Linear(99, 10), 4000),
        (lambda: [torch.empty(500), torch.empty(500)], 4000),
    ],
)
def test_tensors_made_from_sizes_are_counted_before_they_are_made(make, size) -> None:
    with Bounded(size):
        make()
    with Bounded(size - 1), pytest.raises(TooLargeError):
        make()


def test_a_size_without_a_number_is_too_large_and_a_wrong_call_says_what_is_wrong() -> None:
    with Bounded(10**18), pytest.raises(TooLargeError):
        torch.empty(10**12, 10**12)
    with Bounded(10**18), pytest.raises(TooLargeError):
        torch.empty(10**30)
    with Bounded(10**18), pytest.raises(RuntimeError, match="negative dimension"):
        torch.empty(-1)


def test_the_refusal_names_the_largest_setting_and_other_errors_stay_what_they_are() -> None:
    line, settings = r"mixer: .* got 4,000\.0 GB; .*hidden=\[9000\]", {"hidden": [9000], "kappa": 2, "share": "all"}
    with pytest.raises(InputError, match=line), fitting("mixer", settings):
        torch.empty(10**6, 10**6)
    with pytest.raises(RuntimeError, match="else"), fitting("mixer", {}):
        raise RuntimeError("something else")


def test_what_says_that_memory_is_at_its_end_is_known() -> None:
    torchs = RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried")
    assert is_out_of_memory(torchs)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert not is_out_of_memory(RuntimeError("size mismatch"))
    assert not is_out_of_memory(ValueError("out of memory"))


SIZES = {
    "mixer.hidden=1000000": "MaskedMLPMixer: .*hidden=1000000",
    "mixer=gcn mixer.hidden=1000000": "GCNMixer: .*hidden=1000000",
    "algo=qmix mixer.hyper_hidden=1000000000": "QMIXMixer: .*hyper_hidden=1000000000",
    "algo=graphmix mixer.hidden=1000000": "GraphMIXMixer: ",
    "algo=dcg agent.payoff_rank=1000000000": "CoordinationGraph: .*payoff_rank",
    "algo=lomaq_rd reward.networks.hidden=[1000000,1000000,1000000]": "DecomposedReward: ",
    "reward.share=learned reward.sharing.hidden=1000000000000": "RewardSource: ",
    "agent.hidden=[1000000,1000000]": "Utilities: .*hidden=",
    "agent.hidden=[1000000000000000000000000]": "Utilities: .*more than can be counted",
    "agent=gru agent.hidden=[1000000]": "Utilities: ",
    "learner.n_envs=1000000000": "learner: expected rollouts",
    "learner.n_envs=1000000000000000000000000000": "learner: expected rollouts",
    "learner.rollout_steps=1000000000": "learner: expected rollouts",
    "env.max_steps=1000000000 learner.rollout_steps=null": "learner: expected rollouts",
    "learner.epochs=1 agent.hidden=[3000000] learner.n_envs=4000 learner.rollout_steps=1000": "learner: expected",
    "learner=paper learner.replay_capacity=1000000000": "learner.replay_capacity",
}


@pytest.mark.parametrize("words", SIZES)
def test_a_size_that_fits_nowhere_is_refused_in_one_line_soon_and_without_the_memory(words) -> None:
    config = compose(["env.n_agents=3", *words.split()])
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(InputError, match=SIZES[words]) as error:
        build_run(config)
    assert len(str(error.value)) < 400
    assert time.monotonic() - begun < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # kilobytes


def test_many_environments_at_once_are_refused_where_they_are_made() -> None:
    with pytest.raises(InputError, match=r"CartPole: .*n_envs=10000000000"):
        env_maker(compose(["env.n_agents=3"]))(10**10, 0, torch.device("cpu"))
