import dataclasses

import pytest
import torch

from lomaq.envs import Rollout

STEPS, SEQUENCES, AGENTS, FEATURES, HIDDEN, ACTIONS = 3, 2, 2, 4, 5, 3


def rollout(**changes):
    """Sequence 0 ends after step 1 and is reset by step 2; sequence 1 continues from before."""
    fields = {
        "observations": torch.arange(4 * 2 * 2 * 4, dtype=torch.float32).view(STEPS + 1, SEQUENCES, AGENTS, FEATURES),
        "actions": torch.tensor([[[0, 1], [2, 1]], [[1, 0], [0, 2]], [[2, 2], [1, 1]]]),
        "rewards": torch.arange(12, dtype=torch.float32).view(STEPS, SEQUENCES, AGENTS),
        "terminated": torch.tensor([[False, False], [True, False], [False, False]]),
        "truncated": torch.tensor([[False, False], [False, False], [False, True]]),
        "mask": torch.tensor([[True, True], [True, True], [False, True]]),
        "is_first": torch.tensor([[True, False], [False, False], [False, False], [True, False]]),
        "last_actions": torch.tensor([[1, 1], [2, 0]]),
        "hidden": torch.arange(20, dtype=torch.float32).view(SEQUENCES, AGENTS, HIDDEN),
        "epsilon": torch.tensor([0.25, 0.5]),
    }
    return Rollout(**{**fields, **changes})


def test_sizes_are_steps_and_sequences():
    assert (rollout().n_steps, rollout().n_sequences) == (STEPS, SEQUENCES)


def test_previous_actions_are_shifted_by_one_and_absent_where_an_episode_begins():
    assert rollout().previous_actions().tolist() == [
        [[-1, -1], [2, 0]],
        [[0, 1], [2, 1]],
        [[1, 0], [0, 2]],
        [[-1, -1], [1, 1]],
    ]


def test_previous_actions_leave_the_record_as_it_was():
    record = rollout()
    record.previous_actions()
    assert torch.equal(record.actions, rollout().actions)
    assert torch.equal(record.last_actions, rollout().last_actions)


def test_previous_actions_of_no_steps_are_the_last_actions():
    empty = rollout(actions=torch.zeros(0, 2, 2, dtype=torch.int64), is_first=torch.tensor([[False, True]]))
    assert empty.previous_actions().tolist() == [[[1, 1], [-1, -1]]]


@pytest.mark.parametrize("columns", [[1], [1, 0], [0, 0, 1], []])
def test_selected_sequences_are_the_columns_of_every_field(columns):
    mask = torch.arange(4 * 2 * 2 * 3).view(STEPS + 1, SEQUENCES, AGENTS, ACTIONS) % 2 == 0
    record = rollout(action_mask=mask)
    chosen = record.select(torch.tensor(columns, dtype=torch.int64))
    assert chosen.n_sequences == len(columns)
    for field in dataclasses.fields(Rollout):
        whole, part = getattr(record, field.name), getattr(chosen, field.name)
        by_sequence_first = field.name in ("last_actions", "hidden", "epsilon")
        expected = whole[columns] if by_sequence_first else whole[:, columns]
        assert torch.equal(part, expected), field.name
        assert part.dtype == whole.dtype


def test_selection_without_action_mask_has_none():
    assert rollout().select(torch.tensor([0])).action_mask is None


def test_previous_actions_of_a_selection_are_the_selected_previous_actions():
    record, columns = rollout(), torch.tensor([1, 0, 1])
    assert torch.equal(record.select(columns).previous_actions(), record.previous_actions()[:, columns])


def test_record_cannot_be_changed_by_name():
    with pytest.raises(dataclasses.FrozenInstanceError):
        rollout().rewards = torch.zeros(1)


def test_observations_that_begin_episodes_are_a_rollout_without_a_step():
    seen = torch.rand(SEQUENCES, AGENTS, FEATURES)
    begun = Rollout.beginning(seen, torch.zeros(SEQUENCES, AGENTS, HIDDEN))
    assert (begun.n_steps, begun.n_sequences, int(begun.n_transitions)) == (0, SEQUENCES, 1)
    assert torch.equal(begun.observations, seen[None])
    assert begun.previous_actions().tolist() == [[[-1] * AGENTS] * SEQUENCES]
    assert begun.is_first.tolist() == [[True] * SEQUENCES]
    assert begun.select(torch.tensor([1])).rewards.shape == (0, 1, AGENTS)
