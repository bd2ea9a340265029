import pytest

from lomaq.errors import InputError
from lomaq.objectives import COMA, PPO, PartitionTD, Returns
from lomaq.training import LearnerSettings


@pytest.mark.parametrize("make", [COMA, PPO])
def test_what_learns_from_the_present_policy_only_refuses_a_replay_memory(make):
    assert LearnerSettings(make(Returns(0.9, 0.8))).replay_capacity is None
    expected = rf"learner\.replay_capacity: expected null for {make.__name__}.*, got 64; .*=null .*=null"
    with pytest.raises(InputError, match=expected):
        LearnerSettings(make(Returns(0.9, 0.8)), replay_capacity=64, batch_size=8)


def test_a_sampled_target_refuses_a_replay_memory_and_names_both_remedies():
    returns, replay = Returns(0.9, 0.8), {"replay_capacity": 64, "batch_size": 8}
    assert LearnerSettings(PartitionTD(returns), **replay).replay_capacity == 64
    expected = r"learner\.replay_capacity: expected null for PartitionTD.*, got 64; .*=null.*, or .*\.target=greedy$"
    with pytest.raises(InputError, match=expected):
        LearnerSettings(PartitionTD(returns, target="sampled"), **replay)


def test_an_objective_without_a_class_is_refused():
    with pytest.raises(InputError, match=r"learner\.objective: .*_target_"):
        LearnerSettings({"returns": None})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *((name, 0) for name in ("n_envs", "epochs", "minibatches", "target_every", "lr", "grad_clip", "target_rate")),
        *((name, "some") for name in ("optimizer", "lr_decay", "target", "value_scale")),
        ("scale_decay", 1),
        ("rollout_steps", 1),
        ("replay_capacity", 64),
        ("batch_size", 8),
        ("minibatches", 33),
    ],
)
def test_an_impossible_setting_is_refused_by_its_name(setting, value):
    with pytest.raises(InputError, match=r"^learner\.(batch_size|" + setting + r"): expected"):
        LearnerSettings(PartitionTD(Returns(0.9, 0.8)), **{setting: value})
