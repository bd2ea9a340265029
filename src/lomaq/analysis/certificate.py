"""The certificate of a learned mixer: what LOMAQ's theory asks of it, checked at the states that its policy visits.

Every check runs the mixer as a black box. A mixer may besides prove from its weights that it is monotone; a proof saves
no mixer that a check found to fall.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lomaq.analysis.consistency import Consistency, consistency
from lomaq.analysis.differences import Differences, differences
from lomaq.analysis.joint import ExactQSM, JointMaximisation, exact_qsm, joint_maximisation
from lomaq.analysis.locality import Locality, Slopes, locality, slopes
from lomaq.analysis.probe import MixerFunction, Probe, rank_actions
from lomaq.analysis.stored import FRESH_SEED, Checkpoint
from lomaq.analysis.truncation import Truncation, truncation
from lomaq.envs import BatchedEnv
from lomaq.errors import InputError, check_float, check_int
from lomaq.evaluation import GreedyActor
from lomaq.nn import gather_actions
from lomaq.objectives import ValueNetworks
from lomaq.training.build import Run
from lomaq.training.collector import Collector

#: Parallel environments that visit states.
N_ENVS = 16
VERDICTS = {True: "pass", False: "FAIL", None: ""}


@dataclass(frozen=True)
class Certificate:
    """What was checked and what came out.

    Attributes:
        n_agents: Number of agents N.
        n_blocks: Number of blocks P.
        kappa: Hops within which a block may depend on agents.
        n_states: Visited states M.
        hard: Whether the mixer promises to be monotone everywhere.
        proof: Why it is, for all values, by its weights; None where nothing is proved.
        slopes: Monotone within kappa hops, by its derivatives?
        differences: By its values?
        locality: Blind beyond?
        consistency: A function of one state?
        joint: QSM and IGM of the learned values.
        truncation: Value against distance.
        exact: QSM of exact values, where these are known.
    """

    n_agents: int
    n_blocks: int
    kappa: int
    n_states: int
    hard: bool
    proof: str | None
    slopes: Slopes
    differences: Differences
    locality: Locality
    consistency: Consistency
    joint: JointMaximisation
    truncation: Truncation
    exact: ExactQSM | None = None

    @property
    def passed(self) -> bool:
        """Whether the mixer is monotone, local and consistent, and keeps IGM and QSM where it promises to."""
        sound = self.monotone and self.locality.passed and self.consistency.passed
        return sound and (self.joint.passed or not self.hard)

    @property
    def monotone(self) -> bool:
        """Whether no slope and no value was found to fall, whatever is proved."""
        return self.slopes.passed and self.differences.passed

    def to_json(self) -> dict[str, Any]:
        """Plain containers for ``json.dump``; numbers that are not finite become strings such as ``"inf"``."""
        content = asdict(self)
        for name in ("slopes", "differences", "locality", "consistency", "joint"):
            content[name] = {"passed": getattr(self, name).passed, **content[name]}
        text = json.dumps({"passed": self.passed, **content})
        return dict(json.loads(text, parse_constant=lambda number: str(float(number))))

    def checks(self) -> list[tuple[str, bool | None, str]]:
        """Name, verdict (None where there is none to give) and what was found, of each check."""
        how = "sampled" if self.proof is None else f"proved for all values, {self.proof}; sampled"
        follows = "proved, as monotone is; " if self.proof is not None and self.monotone else ""
        joint = [
            (name, share == 0, follows + line + ("" if share == 0 or self.hard else "; a soft mixer promises none"))
            for name, share, line in zip(
                ("IGM", "QSM"), (self.joint.igm_share, self.joint.qsm_share), self.joint.lines(), strict=True
            )
        ]
        result: list[tuple[str, bool | None, str]] = [
            ("monotone", self.monotone, f"{how}: {self.slopes.line()}; {self.differences.line()}"),
            ("local", self.locality.passed, self.locality.line(self.kappa)),
            ("consistent", self.consistency.passed, self.consistency.line()),
            *joint,
            ("truncation", None, self.truncation.line()),
        ]
        return result if self.exact is None else [*result, ("exact QSM", None, self.exact.line())]

    def lines(self) -> list[str]:
        """One line a check: name, verdict and what was found."""
        return [f"{name:<12}{VERDICTS[passed]:<6}{text}" for name, passed, text in self.checks()]


def certify(
    probe: Probe,
    action_utilities: Tensor,
    action_mask: Tensor | None = None,
    *,
    tolerance: float = 0.05,
    limit: int = 4096,
    samples: int = 64,
    seed: int = 0,
    exact: ExactQSM | None = None,
) -> Certificate:
    """Run every check.

    Args:
        probe: The mixer at M visited states.
        action_utilities: ``[M, N, A]`` float, of all actions there.
        action_mask: ``[M, N, A]`` bool, the actions allowed there; None where all are.
        tolerance: As in :func:`truncation`.
        limit: As in :func:`joint_maximisation`.
        samples: As in :func:`joint_maximisation`.
        seed: Of all random numbers.
        exact: Result of :func:`exact_qsm` to put in.

    Raises:
        InputError: If a number or a shape is impossible, or the mixer's values cannot be differentiated.
    """
    actions = rank_actions(action_utilities, action_mask)
    return Certificate(
        probe.graph.n_agents,
        probe.partition.n_blocks,
        probe.kappa,
        len(probe.utilities),
        probe.hard,
        probe.proof(),
        slopes(probe),
        differences(probe, actions, seed),
        locality(probe, seed),
        consistency(probe),
        joint_maximisation(probe, actions, limit=limit, samples=samples, seed=seed),
        truncation(probe, tolerance),
        exact,
    )


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
    probe = probe_run(networks, run, seen, mixer)
    exact = _exact(networks, run)
    return certify(
        probe, seen.utilities, seen.action_mask, tolerance=tolerance, samples=samples, seed=seed, exact=exact
    )


class Visited(NamedTuple):
    """M visited states and what the networks predict there.

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


def probe_run(networks: ValueNetworks, run: Run, seen: Visited, mixer: MixerFunction | None = None) -> Probe:
    """The mixer of a run, or ``mixer`` in its place, at visited states."""
    graph = run.make_env(1, 0, torch.device("cpu")).graph
    kappa = networks.mixer.kappa
    mixer = networks.mixer if mixer is None else mixer
    return Probe(mixer, graph, run.partition, kappa, seen.chosen, seen.observations)


@torch.no_grad()
def visit(networks: ValueNetworks, run: Run, states: int, epsilon: float, seed: int) -> Visited:
    """Play episodes and keep ``states`` of the states that they pass, drawn uniformly."""
    with run.make_env(N_ENVS, FRESH_SEED + seed, torch.device("cpu")) as env:
        rollout = Collector(env, networks.utilities, seed, None).collect(epsilon)
    utilities = networks.unroll(rollout, rollout.n_steps)  # [T, B, N, A]
    real = rollout.mask.flatten().nonzero()[:, 0]
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(seed))[:states]
    rows = real[order].sort().values

    def pick(x: Tensor) -> Tensor:
        return x[: rollout.n_steps].flatten(0, 1)[rows]

    mask = None if rollout.action_mask is None else pick(rollout.action_mask)
    return Visited(pick(rollout.observations), pick(utilities), pick(gather_actions(utilities, rollout.actions)), mask)


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
