import pytest

from lomaq.errors import InputError
from lomaq.objectives import COMA, Returns
from lomaq.training import LearnerSettings


def test_what_learns_from_the_present_policy_only_refuses_a_replay_memory():
    assert LearnerSettings(COMA(Returns(0.9, 0.8))).replay_capacity is None
    with pytest.raises(
        InputError, match=r"learner\.replay_capacity: expected null for COMA.*, got 64; .*=null .*=null"
    ):
        LearnerSettings(COMA(Returns(0.9, 0.8)), replay_capacity=64, batch_size=8)
