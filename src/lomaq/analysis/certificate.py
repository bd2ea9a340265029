"""The certificate of a checkpoint: play with its utilities, then examine its mixer at the states that were visited."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lomaq.analysis.certify import Certificate, ExactQSM, certify, exact_qsm
from lomaq.analysis.colouring import MixerFunction
from lomaq.envs import BatchedEnv
from lomaq.errors import InputError, check_float, check_int
from lomaq.nn import gather_actions
from lomaq.objectives import ValueNetworks
from lomaq.training.build import Run
from lomaq.training.collector import Collector
from lomaq.training.evaluation import GreedyActor
from lomaq.training.stored import FRESH_SEED, Checkpoint

#: Copies of the environment that visit states together.
COPIES = 16


@dataclass(frozen=True)
class Visited:
    """What the networks say at M visited states.

    Attributes:
        observations: ``[M, N, O]``.
        utilities: ``[M, N, A]``, of all actions.
        chosen: ``[M, N]``, of the actions taken.
        action_mask: ``[M, N, A]`` bool; None where all actions are always allowed.
    """

    observations: Tensor
    utilities: Tensor
    chosen: Tensor
    action_mask: Tensor | None


def certify_checkpoint(
    stored: Checkpoint,
    mixer: MixerFunction | None = None,
    *,
    states: int = 64,
    epsilon: float = 0.1,
    tolerance: float = 0.05,
    samples: int = 64,
    seed: int = 0,
) -> Certificate:
    """Examine the mixer of a checkpoint.

    Args:
        stored: A checkpoint that holds a mixer.
        states: Visited states M to examine it at, drawn from 16 episodes.
        epsilon: Share ε of random actions in these episodes.
        tolerance: Truncation error that is small enough, in standard deviations of a block's value: it answers "which
            kappa do I need?".
        samples: Joint actions to draw where there are more than 4,096, too many to try them all.
        seed: Seed of the episodes and of everything drawn.
        mixer: A function of utilities ``[M, N]`` and observations ``[M, N, O]`` to examine in place of the mixer.

    Raises:
        InputError: If a number is impossible, the objective mixes nothing, or the weights are not those of the
            networks.
    """
    check_int("states", states, 2)
    check_float("epsilon", epsilon, 0, 1)
    check_int("seed", seed, 0, 2**32 - 1)
    run = stored.run()
    networks, objective = run.module.networks.eval(), run.module.settings.objective
    if objective.trained_mixer(networks) is None:
        got = f"{type(objective).__name__}, whose values no mixer makes"
        raise InputError("checkpoint", "values that a mixer makes of the utilities", got)
    seen = visit(networks, run, states, epsilon, seed)
    return certify(
        networks.mixer if mixer is None else mixer,
        run.make_env(1, 0, torch.device("cpu")).graph,
        run.partition,
        networks.mixer.kappa,
        seen.chosen,
        seen.utilities,
        seen.observations,
        seen.action_mask,
        tolerance=tolerance,
        samples=samples,
        seed=seed,
        exact=_exact(networks, run),
    )


@torch.no_grad()
def visit(networks: ValueNetworks, run: Run, states: int, epsilon: float, seed: int) -> Visited:
    """Play episodes and keep ``states`` of the states that they pass, drawn uniformly."""
    env = run.make_env(COPIES, FRESH_SEED + seed, torch.device("cpu"))
    collector = Collector(env, networks.utilities, seed, None)
    rollout = collector.collect(epsilon)
    utilities = networks.unroll(rollout, rollout.n_steps)  # [T, B, N, A]
    chosen = gather_actions(utilities, rollout.actions)
    real = rollout.mask.flatten().nonzero()[:, 0]
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(seed))[:states]
    rows = real[order].sort().values

    def pick(x: Tensor) -> Tensor:
        return x[: rollout.n_steps].flatten(0, 1)[rows]

    mask = None if rollout.action_mask is None else pick(rollout.action_mask)
    return Visited(pick(rollout.observations), pick(utilities), pick(chosen), mask)


def _exact(networks: ValueNetworks, run: Run) -> ExactQSM | None:
    """QSM of the exact Q-function of the greedy policy, where it can be computed."""
    actor = GreedyActor(networks.utilities)
    if not actor.memoryless:
        return None

    def policy(states: BatchedEnv) -> Tensor:
        actor.reset(states)
        return actor.act(states, states.observe())

    with torch.no_grad():
        q = run.make_env(1, 0, torch.device("cpu")).exact_q(policy)
    return None if q is None else exact_qsm(q, run.partition)
