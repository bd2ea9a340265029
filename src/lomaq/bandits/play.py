"""The loop over rounds, and the reference player."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lomaq.bandits.linear import Floats, Ints, LinearBandit
from lomaq.bandits.oful import MultiOFUL


class UniformArms:
    """Chooses every arm at random and learns nothing; its regret is the reference."""

    def __init__(self, n_agents: int, n_arms: int, seed: int) -> None:
        self.n_agents, self.n_arms = n_agents, n_arms
        self.rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3,)))

    def choose(self, context: Floats) -> Ints:
        return self.rng.integers(self.n_arms, size=(len(context), self.n_agents))

    def update(self, context: Floats, actions: Ints, rewards: Floats) -> None: ...


def play(
    bandit: LinearBandit,
    player: MultiOFUL | UniformArms,
    rounds: Sequence[int],
    on_note: Callable[[int], None] = lambda done: None,
) -> Floats:
    """Play ``rounds[-1]`` rounds.

    Args:
        bandit: The problem.
        player: Chooses and learns.
        rounds: C rising numbers of rounds after which the regret is noted.
        on_note: Called at each with the rounds since the one before it.

    Returns:
        ``[C, R]`` float64, each repetition's regret so far, in units of reward.
    """
    noted = np.empty((len(rounds), len(bandit.parameters)))
    total = np.zeros(len(bandit.parameters))
    for number, (begin, end) in enumerate(zip([0, *rounds[:-1]], rounds, strict=True)):
        for _ in range(begin, end):
            context = bandit.context()
            actions = player.choose(context)
            rewards, regret = bandit.pull(actions)
            player.update(context, actions, rewards)
            total += regret
        noted[number] = total
        on_note(end - begin)
    return noted
