"""Certificates of checkpoints: what their agents visit, and what of their networks is examined there."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lomaq.analysis.certificate.conflict import Conflict, estimated_conflict, exact_conflict, shares_of
from lomaq.analysis.certificate.critic import CriticCertificate, certify_critics
from lomaq.analysis.certificate.decay import ExactDecay, exact_decay
from lomaq.analysis.certificate.gradient import Gradient, episode_gradients, gradient, shells
from lomaq.analysis.certificate.joint import exact_qsm
from lomaq.analysis.certificate.mixer import MixerCertificate, certify
from lomaq.analysis.certificate.probe import MixerFunction, Probe
from lomaq.analysis.stored import FRESH_SEED, Checkpoint
from lomaq.envs import BatchedEnv, Rollout
from lomaq.errors import InputError, check_float, check_int
from lomaq.evaluation import GreedyActor
from lomaq.nn import gather_actions
from lomaq.objectives import ValueNetworks
from lomaq.objectives.base import Ascent, Batch
from lomaq.training.build import Run
from lomaq.training.experience.collector import Collector

#: Parallel environments that visit states.
N_ENVS = 16
#: Hops beyond kappa that the gradient is looked for.
BEYOND = 3
#: Episodes that the gradient is estimated from where nothing else is asked for: so many that their steps times agents
#: do not exceed BUDGET, between LEAST and MOST.
BUDGET, LEAST, MOST = 2**20, 8, 512


def certify_checkpoint(
    stored: Checkpoint,
    mixer: MixerFunction | None = None,
    *,
    states: int = 64,
    epsilon: float = 0.1,
    tolerance: float = 0.05,
    samples: int = 64,
    episodes: int | None = None,
    hops: int | None = None,
    seed: int = 0,
) -> MixerCertificate | CriticCertificate:
    """Examine the mixer of a checkpoint, or the critics of one whose agents ascend their advantages.

    Args:
        stored: A checkpoint that holds either.
        states: Visited states M to examine it at, drawn from 16 episodes.
        epsilon: Share ε of random actions in these episodes.
        tolerance: Truncation error that is small enough, in standard deviations of a block's value: it answers "which
            kappa do I need?". Exact values: in shares of their range.
        samples: Joint actions to draw where there are more than 4,096, too many to try them all. Critics: not used.
        episodes: Episodes, at least 8, that the policy gradient is estimated from; null for up to 512, fewer where they
            are long or agents many. Mixers: not used.
        hops: Distance up to which that gradient is looked for; null for 3 hops beyond kappa. Mixers: not used.
        seed: Seed of the episodes and of everything drawn.
        mixer: A function of utilities ``[M, N]`` and observations ``[M, N, O]`` to examine in place of the mixer.

    Raises:
        InputError: If a number is impossible, the objective has neither, or the weights are not those of the networks.
    """
    check_int("states", states, 2)
    check_float("epsilon", epsilon, 0, 1)
    check_int("seed", seed, 0, 2**32 - 1)
    if episodes is not None:
        check_int("episodes", episodes, LEAST)
    if hops is not None:
        check_int("hops", hops, 0)
    run = stored.run()
    networks = run.module.networks.eval()
    seen = visit(run, states, epsilon, seed)
    with torch.no_grad():
        ascent = _ascent(stored, run, seen.rollout) if mixer is None else None
    with run.make_env(1, 0, torch.device("cpu")) as env:
        known = _exact_q(networks, env)
    q = None if known is None else known[0]
    decay = None if q is None else _decay(env, q, tolerance)
    if ascent is not None:
        hops = ascent.kappa + BEYOND if hops is None else hops
        found = _gradient(stored, run, hops, episodes, seed)
        return certify_critics(_probe_critics(run, ascent, seen), found, tolerance, seed, decay)
    probe, values = probe_mixer(run, seen, mixer)
    return certify(
        probe,
        values,
        seen.action_mask,
        tolerance=tolerance,
        samples=samples,
        seed=seed,
        exact=None if q is None else exact_qsm(q, run.partition),
        decay=decay,
        conflict=_conflict(run, known, epsilon, seed),
    )


class Visited(NamedTuple):
    """M visited states of a rollout.

    Attributes:
        rollout: Episodes.
        rows: ``[M]`` int64, their places in its steps and environments.
    """

    rollout: Rollout
    rows: Tensor

    def pick(self, x: Tensor) -> Tensor:
        """``[T, B, ...]``, or a step more → ``[M, ...]``."""
        return x[: self.rollout.n_steps].flatten(0, 1)[self.rows]

    @property
    def action_mask(self) -> Tensor | None:
        """``[M, N, A]`` bool, the allowed actions; None where all always are."""
        return None if self.rollout.action_mask is None else self.pick(self.rollout.action_mask)


@torch.no_grad()
def visit(run: Run, states: int, epsilon: float, seed: int) -> Visited:
    """Play episodes as in training, with a share ε of random actions, and draw ``states`` of the states they pass."""
    policy = run.module.settings.objective.policy
    with run.make_env(N_ENVS, FRESH_SEED + seed, torch.device("cpu")) as env:
        rollout = Collector(env, run.module.networks.utilities, seed, None, policy).collect(epsilon)
    real = rollout.mask.flatten().nonzero()[:, 0]
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(seed))[:states]
    return Visited(rollout, real[order].sort().values)


@torch.no_grad()
def probe_mixer(run: Run, seen: Visited, mixer: MixerFunction | None = None) -> tuple[Probe, Tensor]:
    """The mixer of a run, or ``mixer`` in its place, at visited states.

    Returns:
        The mixer at what it mixes there, and ``[M, N, A]`` the same of all actions.

    Raises:
        InputError: If the objective mixes nothing.
    """
    networks, objective = run.module.networks, run.module.settings.objective
    if objective.trained_mixer(networks) is None:
        got = f"{type(objective).__name__}, whose values no mixer makes"
        raise InputError("checkpoint", "values that a mixer makes of the utilities", got)
    values = objective.mixed_values(networks, seen.rollout, seen.rollout.n_steps)  # [T, B, N, A]
    chosen = seen.pick(gather_actions(values, seen.rollout.actions))
    examined = networks.mixer if mixer is None else mixer
    graph, kappa = networks.mixer.graph, networks.mixer.kappa
    probe = Probe(examined, graph, run.partition, kappa, chosen, seen.pick(seen.rollout.observations))
    return probe, seen.pick(values)


@torch.no_grad()
def _probe_critics(run: Run, ascent: Ascent, seen: Visited) -> Probe:
    """The critics that a run's agents ascend, at visited states, without utilities."""
    what, graph = seen.pick(ascent.seen), run.module.networks.mixer.graph

    def critics(utilities: Tensor, x: Tensor | None) -> Tensor:
        assert x is not None
        return ascent.critic(x)

    return Probe(critics, graph, run.partition, ascent.kappa, torch.zeros(what.shape[:2]), what)


def _ascent(stored: Checkpoint, run: Run, rollout: Rollout) -> Ascent | None:
    networks, rewards = run.module.networks, run.module.reward.aggregate(rollout.rewards)
    return run.module.settings.objective.ascent(Batch(networks, networks, rollout, rewards, stored.sigma))


def _gradient(stored: Checkpoint, run: Run, hops: int, episodes: int | None, seed: int) -> Gradient:
    """Play episodes with ε = 0 and estimate the gradient from them.

    Others, played before, give the mean advantage of each block. Taken off, it leaves the gradient as it is and less
    noise in its estimate.
    """
    networks, policy = run.module.networks, run.module.settings.objective.policy
    near = shells(networks.mixer.graph, run.partition, hops)
    parameters = [parameter for parameter in networks.utilities.parameters() if parameter.requires_grad]
    rows, n_transitions = [], 0

    def ascended(rollout: Rollout) -> Ascent:
        ascent = _ascent(stored, run, rollout)
        assert ascent is not None
        return ascent

    with run.make_env(N_ENVS, FRESH_SEED + seed, torch.device("cpu")) as env:
        if episodes is None:
            episodes = min(MOST, max(LEAST, BUDGET // (env.max_steps * env.n_agents)))
        collector = Collector(env, networks.utilities, seed, None, policy)
        before = collector.collect(0.0)
        with torch.no_grad():
            baseline = ascended(before).advantages[before.mask].mean(dim=0)
        for begin in range(0, episodes, N_ENVS):
            rollout = collector.collect(0.0)
            for column in range(min(N_ENVS, episodes - begin)):  # backward passes of its own each, no hot path
                episode = rollout.select(torch.tensor([column]))
                ascent = ascended(episode)
                ascent = ascent._replace(advantages=ascent.advantages - baseline)
                rows.append(episode_gradients(ascent, episode.mask, near, parameters))
                n_transitions += int(episode.mask.sum())
    return gradient(rows, ascent.kappa, n_transitions, networks.mixer.n_agents)


@torch.no_grad()
def _exact_q(networks: ValueNetworks, env: BatchedEnv) -> tuple[Tensor, Tensor] | None:
    """The exact Q-functions ``[N, S, joint actions]`` of the greedy policy and its actions ``[S, N]``, where known."""
    actor, played = GreedyActor(networks.utilities), list[Tensor]()
    if not actor.memoryless:
        return None

    def policy(states: BatchedEnv) -> Tensor:
        actor.reset(states)
        played.append(actor.act(states, states.observe()))
        return played[-1]

    q = env.exact_q(policy)
    return None if q is None else (q, torch.cat(played))


def _decay(env: BatchedEnv, q: Tensor, tolerance: float) -> ExactDecay | None:
    """Decay along the graph that mixers get, where the state is one of each agent's."""
    return None if env.agent_states is None else exact_decay(q, env.graph, env.agent_states, tolerance)


def _conflict(run: Run, known: tuple[Tensor, Tensor] | None, epsilon: float, seed: int) -> Conflict | None:
    """Exact where values are; else estimated, if random actions show what the others do."""
    mixer = run.module.networks.mixer
    shares = shares_of(run.module.reward, mixer.graph)
    if shares is None or (known is None and epsilon == 0):
        return None
    if known is None:
        return estimated_conflict(run, shares, epsilon, seed)
    return exact_conflict(*known, mixer.graph, run.partition, mixer.kappa, shares)
