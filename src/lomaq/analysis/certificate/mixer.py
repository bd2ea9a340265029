"""The certificate of a learned mixer: what LOMAQ's theory asks of it, checked at the states that its policy visits.

Every check runs the mixer as a black box. A mixer may besides prove from its weights that it is monotone; a proof saves
no mixer that a check found to fall.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lomaq.analysis.certificate.conflict import Conflict
from lomaq.analysis.certificate.consistency import consistency
from lomaq.analysis.certificate.decay import ExactDecay
from lomaq.analysis.certificate.differences import Differences, differences
from lomaq.analysis.certificate.joint import ExactQSM, JointMaximisation, joint_maximisation
from lomaq.analysis.certificate.locality import Slopes, locality, slopes
from lomaq.analysis.certificate.probe import Probe, rank_actions
from lomaq.analysis.certificate.report import Certificate, Check
from lomaq.analysis.certificate.truncation import truncation


@dataclass(frozen=True)
class MixerCertificate(Certificate):
    """What was checked of a mixer and what came out; more in :class:`Certificate`.

    Attributes:
        hard: Whether the mixer promises to be monotone everywhere.
        proof: Why it is, for all values, by its weights; None where nothing is proved.
        slopes: Monotone within kappa hops, by its derivatives?
        differences: By its values?
        joint: QSM and IGM of the learned values.
        exact: QSM of exact values, where these are known.
        decay: Decay of exact values, where these are known.
        conflict: Whether blocks oppose what is best for the team; None where they do not have local rewards.
    """

    hard: bool
    proof: str | None
    slopes: Slopes
    differences: Differences
    joint: JointMaximisation
    exact: ExactQSM | None = None
    decay: ExactDecay | None = None
    conflict: Conflict | None = None

    subject, part, symbol = "mixer", "mixer", "F_J"

    @property
    def passed(self) -> bool:
        """Whether the mixer is monotone, local and consistent, and keeps IGM and QSM where it promises to."""
        sound = self.monotone and self.locality.passed and self.consistency.passed
        return sound and (self.joint.passed or not self.hard)

    @property
    def asked(self) -> str:
        more = ", IGM and QSM" if self.hard else "; a soft mixer promises no more"
        return f"monotone, local, consistent{more}"

    @property
    def monotone(self) -> bool:
        """Whether no slope and no value was found to fall, whatever is proved."""
        return self.slopes.passed and self.differences.passed

    def checks(self) -> list[Check]:
        how = "sampled" if self.proof is None else f"proved for all values, {self.proof}; sampled"
        follows = "proved, as monotone is; " if self.proof is not None and self.monotone else ""
        joint = [
            (name, share == 0, follows + line + ("" if share == 0 or self.hard else "; a soft mixer promises none"))
            for name, share, line in zip(
                ("IGM", "QSM"), (self.joint.igm_share, self.joint.qsm_share), self.joint.lines(), strict=True
            )
        ]
        result: list[Check] = [
            ("monotone", self.monotone, f"{how}: {self.slopes.line()}; {self.differences.line()}"),
            *self._sound(),
            *joint,
            ("truncation", None, self.truncation.line()),
        ]
        if self.conflict is not None:
            result.append(("conflict", None, self.conflict.line()))
        if self.decay is not None:
            result.append(("exact decay", None, self.decay.line()))
        return result if self.exact is None else [*result, ("exact QSM", None, self.exact.line())]


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
    decay: ExactDecay | None = None,
    conflict: Conflict | None = None,
) -> MixerCertificate:
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
        decay: Result of :func:`exact_decay` to put in.
        conflict: Result of :func:`exact_conflict` or :func:`estimated_conflict` to put in.

    Raises:
        InputError: If a number or a shape is impossible, or the mixer's values cannot be differentiated.
    """
    actions = rank_actions(action_utilities, action_mask)
    return MixerCertificate(
        probe.graph.n_agents,
        probe.partition.n_blocks,
        probe.kappa,
        len(probe.utilities),
        locality(probe, seed),
        consistency(probe),
        truncation(probe, tolerance),
        probe.hard,
        probe.proof(),
        slopes(probe),
        differences(probe, actions, seed),
        joint_maximisation(probe, actions, limit=limit, samples=samples, seed=seed),
        exact,
        decay,
        conflict,
    )
