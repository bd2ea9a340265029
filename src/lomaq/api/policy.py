"""Policies of trained runs, from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lomaq.analysis.certificate.checkpoint import certify_checkpoint, probe_mixer, visit
from lomaq.analysis.certificate.critic import CriticCertificate
from lomaq.analysis.certificate.locality import influence
from lomaq.analysis.certificate.mixer import MixerCertificate
from lomaq.analysis.episode import EpisodeRewards, decompose_checkpoint
from lomaq.analysis.stored import FRESH_SEED, Checkpoint, open_checkpoint
from lomaq.envs import BatchedEnv, contract
from lomaq.errors import InputError, check_int
from lomaq.evaluation import Actor, evaluate, make_test_env
from lomaq.inputs.plain import changed
from lomaq.nn import ActingState, ActionSelector, epsilon_greedy, epsilon_softmax
from lomaq.objectives import ValueNetworks
from lomaq.plots.film import LONG_FILM, Film, Shown, check_film, play
from lomaq.runs.files import free_path
from lomaq.training.build import actor_of, env_maker, samples, with_sample


class Policy:
    """The trained utilities of all agents, each acting on what it observes: by its best action, or by a draw.

    ``sample`` of its methods is true to draw from policies, which methods such as COMA learn, false for best actions,
    and None for what ``evaluation.sample`` of the run says.

    Args:
        stored: The checkpoint.
        **env_settings: Settings of the environment to change, such as ``n_agents``.

    Raises:
        InputError: If the environment has no such setting, or the utilities do not fit it.
    """

    def __init__(self, stored: Checkpoint, **env_settings: Any) -> None:
        self.stored = stored
        self.config = changed(stored.config, {f"env.{name}": value for name, value in env_settings.items()})
        self.utilities = stored.utilities(self.env())
        self.reset(seed=0)

    def env(self, n_envs: int = 1, seed: int = 0) -> BatchedEnv:
        """``n_envs`` parallel environments, on the CPU."""
        return env_maker(self.config)(n_envs, seed, torch.device("cpu"))

    def reset(self, seed: int | None = None) -> None:
        """Forget what was observed; call it before the first step of new episodes.

        Args:
            seed: Of the actions that :meth:`act` draws from now on, 0 at first; None to go on with what comes next.
        """
        self._state: ActingState | None = None
        if seed is not None:
            self._generator = torch.Generator().manual_seed(check_int("seed", seed, 0))

    @torch.no_grad()
    def act(
        self,
        observations: ArrayLike | Tensor,
        action_mask: ArrayLike | Tensor | None = None,
        sample: bool | None = None,
    ) -> Tensor:
        """The action of every agent; recurrent utilities remember earlier observations.

        Args:
            observations: ``[B, N, O]`` numbers, for B parallel environments, or ``[N, O]`` for a single one.
            action_mask: ``[B, N, A]`` or ``[N, A]`` bool, the actions allowed; None for all.
            sample: Whether actions are drawn.

        Returns:
            ``[B, N]`` int64, or ``[N]``.

        Raises:
            InputError: If a shape is not that, a number is not finite, an agent has no allowed action, B changed
                without :meth:`reset`, or there are no policies to draw from.
        """
        policy = epsilon_softmax if samples(with_sample(self.config, sample)) else epsilon_greedy
        seen = torch.as_tensor(observations, dtype=torch.float32)
        n, o, a = self.utilities.n_agents, self.utilities.obs_size, self.utilities.n_actions
        if seen.dim() not in (2, 3) or list(seen.shape[-2:]) != [n, o]:
            raise InputError("observations", f"shape [B, {n}, {o}] or [{n}, {o}]", list(seen.shape))
        mask = None if action_mask is None else torch.as_tensor(action_mask, dtype=torch.bool)
        if mask is not None and mask.shape != (*seen.shape[:-1], a):
            raise InputError("action_mask", f"shape {[*seen.shape[:-1], a]}", list(mask.shape))
        if seen.dim() == 2:
            return self._act(seen[None], None if mask is None else mask[None], policy)[0]
        return self._act(seen, mask, policy)

    def _act(self, seen: Tensor, mask: Tensor | None, policy: ActionSelector) -> Tensor:
        if not bool(seen.isfinite().all()):
            place = (~seen.isfinite()).nonzero()[0].tolist()
            got = f"{float(seen[tuple(place)])} at {place}"
            raise InputError("observations", "finite numbers", got, "the place is [environment, agent, number]")
        if mask is not None:
            contract.check_choices(mask, "action_mask", InputError)
        if self._state is None:
            self._state = self.utilities.initial_state(len(seen), seen.device)
        if (before := len(self._state.previous)) != len(seen):
            expected = f"{before} parallel environments, as before"
            raise InputError("observations", expected, len(seen), "reset() between episodes")
        return self.utilities.act(seen, self._state, mask, policy, self._generator)

    @property
    def networks(self) -> ValueNetworks:
        """The utilities and the mixer of the checkpoint, built anew as its run built them."""
        return self.stored.run().module.networks.eval()

    def certify(self, **options: Any) -> MixerCertificate | CriticCertificate:
        """Whether the mixer is monotone and local; options as of ``lomaq certify``, and a ``mixer`` to examine instead.

        Such a function is examined as a mixer that promises to be monotone everywhere; nothing is proved of it. Where
        agents ascend advantages of critics, whether these are local, and how far away the gradient comes from.
        See :func:`lomaq.analysis.certificate.checkpoint.certify_checkpoint`.
        """
        return certify_checkpoint(self.stored, **options)

    def influence(self, states: int = 64, epsilon: float = 0.1, seed: int = 0) -> np.ndarray:
        """How strongly each block's mixer depends on each edge, ``[E]``, mean over visited states.

        The arguments are those of :func:`lomaq.analysis.certificate.checkpoint.certify_checkpoint`.
        """
        run = self.stored.run()
        return influence(probe_mixer(run, visit(run, states, epsilon, seed))[0])

    def decompose(self, seed: int = 0) -> EpisodeRewards:
        """Learned and true rewards of one greedy episode, as ``lomaq decompose`` plays it."""
        return decompose_checkpoint(self.stored, self.config, seed)

    def film(
        self,
        path: str | Path,
        seed: int = 0,
        actor: Actor | None = None,
        moments: int = LONG_FILM,
        sample: bool | None = None,
    ) -> Shown:
        """Film one episode, the one that :meth:`evaluate` plays with ``episodes=1`` and this seed.

        Args:
            path: A ``.gif`` or ``.mp4`` file (the latter needs the extra film); a name that is taken gets a number.
            seed: Seed of the start and of what happens in the episode, at least 0.
            actor: Who acts in place of the policy, such as ``lomaq.RandomActor(seed=0)``.
            moments: Most moments of the episode that are shown.
            sample: Whether the policy draws its actions.

        Returns:
            What a notebook shows as the film, as the last line of a cell; its ``path`` is the file.

        Raises:
            InputError: If the path has another ending, a package is missing, or there are no policies to draw from.
        """
        env, file = self.env(), free_path(check_film("path", str(path)))
        actor = actor or self._actor(seed, sample)
        Film(env, play(actor, env, FRESH_SEED + seed, moments)).write(file)
        return Shown(file)

    def evaluate(self, episodes: int = 20, seed: int = 0, sample: bool | None = None) -> Tensor:
        """Test returns ``[episodes]``, as ``lomaq evaluate`` plays them.

        Args:
            episodes: Episodes to play.
            seed: Seed of their starts, and of actions that are drawn.
            sample: Whether actions are drawn.

        Raises:
            InputError: If there are no policies to draw from.
        """
        actor = self._actor(seed, sample)
        with make_test_env(env_maker(self.config), episodes, torch.device("cpu")) as env:
            return evaluate(actor, env, episodes, FRESH_SEED + seed).returns

    def _actor(self, seed: int, sample: bool | None) -> Actor:
        return actor_of(with_sample(self.config, sample), self.utilities, FRESH_SEED + seed)


def load(path: str | Path, **env_settings: Any) -> Policy:
    """The policy of a run folder (its best checkpoint) or of a checkpoint file.

    Nothing that these name is imported: import the modules of classes of your own first.

    Args:
        path: The folder or the file.
        **env_settings: Settings of the environment to change, such as ``n_agents=200``.

    Raises:
        InputError: If there is no checkpoint, or it does not fit the changed environment.
    """
    return Policy(open_checkpoint(path, resume=False), **env_settings)
