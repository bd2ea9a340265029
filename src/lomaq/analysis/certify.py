"""The certificate of a learned mixer: what LOMAQ's theory asks of it, checked at the states that its policy visits.

The mixer is a black box throughout, so that a broken one is found out.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from lomaq.analysis.colouring import Colouring, MixerFunction
from lomaq.analysis.joint import ExactQSM, JointMaximisation, exact_qsm, joint_maximisation
from lomaq.analysis.locality import Locality, Slopes, locality, slopes
from lomaq.analysis.truncation import Truncation, truncation
from lomaq.graphs import AgentGraph, Partition

__all__ = [
    "Certificate",
    "Colouring",
    "ExactQSM",
    "JointMaximisation",
    "Locality",
    "Slopes",
    "Truncation",
    "certify",
    "exact_qsm",
    "joint_maximisation",
    "locality",
    "slopes",
    "truncation",
]

VERDICTS = {True: "pass", False: "FAIL", None: ""}


@dataclass(frozen=True)
class Certificate:
    """What was checked and what came out.

    Attributes:
        n_agents: Number of agents N.
        n_blocks: Number of blocks P.
        kappa: Hops that a block sees.
        n_states: Visited states M.
        slopes: Monotone within kappa hops?
        locality: Blind beyond?
        joint: QSM and IGM of the learned values.
        truncation: Value against distance.
        exact: QSM of exact values, where these are known.
    """

    n_agents: int
    n_blocks: int
    kappa: int
    n_states: int
    slopes: Slopes
    locality: Locality
    joint: JointMaximisation
    truncation: Truncation
    exact: ExactQSM | None = None

    @property
    def passed(self) -> bool:
        """Whether the mixer is monotone and local."""
        return self.slopes.passed and self.locality.passed

    def to_json(self) -> dict[str, Any]:
        """Plain containers for ``json.dump``; numbers that are not finite become strings such as ``"inf"``."""
        content = asdict(self)
        for name in ("slopes", "locality", "joint"):
            content[name] = {"passed": getattr(self, name).passed, **content[name]}
        return _plain({"passed": self.passed, **content})

    def checks(self) -> list[tuple[str, bool | None, str]]:
        """Name, verdict (None where there is none to give) and what was found, of each check."""
        result = [
            ("monotone", self.slopes.passed, _about_slopes(self.slopes)),
            ("local", self.locality.passed, _about_locality(self.locality, self.kappa)),
            ("IGM", self.joint.igm_share == 0, _about_igm(self.joint)),
            ("QSM", self.joint.qsm_share == 0, _about_qsm(self.joint)),
            ("truncation", None, _about_truncation(self.truncation)),
        ]
        return result if self.exact is None else [*result, ("exact QSM", None, _about_exact(self.exact))]

    def lines(self) -> list[str]:
        """One line a check: name, verdict and what was found."""
        return [f"{name:<12}{VERDICTS[passed]:<6}{text}" for name, passed, text in self.checks()]


def certify(
    mixer: MixerFunction,
    graph: AgentGraph,
    partition: Partition,
    kappa: int,
    utilities: Tensor,
    action_utilities: Tensor,
    observations: Tensor | None = None,
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
        mixer: The mixer, in evaluation mode.
        graph: The agents.
        partition: The blocks that the mixer values.
        kappa: Hops that a block may see, at least 0.
        utilities: ``[M, N]`` float, of the actions chosen at M visited states.
        action_utilities: ``[M, N, A]`` float, of all actions there.
        observations: ``[M, N, O]`` float there, for mixers with local state.
        action_mask: ``[M, N, A]`` bool, the actions allowed there; None where all are.
        tolerance: As in :func:`truncation`.
        limit: As in :func:`joint_maximisation`.
        samples: As in :func:`joint_maximisation`.
        seed: Of all random numbers.
        exact: Result of :func:`exact_qsm` to put in.

    Raises:
        InputError: If a number or a shape is impossible.
    """
    colouring = Colouring(graph, partition, kappa)
    return Certificate(
        graph.n_agents,
        partition.n_blocks,
        kappa,
        len(utilities),
        slopes(mixer, colouring, utilities, observations),
        locality(mixer, colouring, utilities, observations, seed),
        joint_maximisation(mixer, action_utilities, observations, action_mask, limit=limit, samples=samples, seed=seed),
        truncation(mixer, colouring, utilities, observations, tolerance),
        exact,
    )


def _plain(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_plain(value) for value in content]
    return str(content) if isinstance(content, float) and not math.isfinite(content) else content


def _about_slopes(result: Slopes) -> str:
    looked = f"{result.n_slopes:,} slopes ({result.n_pairs:,} pairs of block and agent at {result.n_states:,} states)"
    text = f"smallest slope {result.smallest:.2g} of {looked}"
    if result.n_negative:
        text += f"; {result.n_negative:,} negative ({result.share_negative:.2g} of all)"
    if result.n_not_finite:
        text += f"; {result.n_not_finite:,} not finite"
    return text


def _about_locality(result: Locality, kappa: int) -> str:
    hops = f"{kappa} hop" + ("" if kappa == 1 else "s")
    looked = f"{result.n_pairs:,} pairs of block and agent beyond {hops} at {result.n_states:,} states"
    if result.passed:
        return f"not one bit changed in {looked}" if result.n_pairs else f"no agent is beyond {hops} of any block"
    text = f"{result.n_blocks_changed:,} blocks changed, by up to {result.largest_change:.2g}, in {looked}"
    agents = ", ".join(map(str, result.worst_agents[:5])) + (", …" if len(result.worst_agents) > 5 else "")
    return text + f"; worst: block {result.worst_block}" + (f" sees agent {agents}" if agents else "")


def _tried(result: JointMaximisation) -> str:
    tried = "all" if result.exhaustive else "a sample of"
    return f"{tried} {result.n_joint_actions:,} joint actions in each of {result.n_states:,} states"


def _about_igm(result: JointMaximisation) -> str:
    if result.igm_share == 0:
        return f"greedy is best among {_tried(result)}"
    beaten = f"greedy is beaten by up to {result.igm_largest:.2g} in {result.igm_share:.1%} of states"
    return f"{beaten}, among {_tried(result)}"


def _about_qsm(result: JointMaximisation) -> str:
    if result.qsm_share == 0:
        return f"the blocks' maxima add up to the maximum of their sum, among {_tried(result)}"
    above = f"the blocks' maxima add up to {result.qsm_largest:.2g} too much in {result.qsm_share:.1%} of states"
    return f"{above}, among {_tried(result)}"


def _about_truncation(result: Truncation) -> str:
    if not result.mean_error:
        return f"not measured: {result.reason}"
    shown = ", ".join(f"{error:.2g}" for error in result.mean_error[:8]) + (", …" if len(result.mean_error) > 8 else "")
    enough = "at no k" if result.smallest_k is None else f"from k={result.smallest_k}"
    text = f"mean error {shown} standard deviations for k = 0, 1, …; below {result.tolerance:g} {enough}"
    if result.rho is None:
        return f"{text}; no decay rate: {result.reason}"
    fit = f"{result.c:.2g} · {result.rho:.2g}^(k+1), R² {result.r_squared:.2f} over {result.n_points} points"
    return f"{text}; decays as {fit}"


def _about_exact(result: ExactQSM) -> str:
    return (
        f"holds in {result.share_satisfied:.1%} of {result.n_states:,} states with {result.n_joint_actions:,} joint "
        f"actions each; gap {result.relative_mean_gap:.2%} of the value range on average, "
        f"{result.relative_largest_gap:.2%} at most"
    )
