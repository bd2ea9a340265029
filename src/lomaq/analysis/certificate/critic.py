"""The certificate of an actor-critic: its critics of blocks, and how far away its policy gradient comes from."""

from __future__ import annotations

from dataclasses import dataclass

from lomaq.analysis.certificate.consistency import consistency
from lomaq.analysis.certificate.decay import ExactDecay
from lomaq.analysis.certificate.gradient import Gradient
from lomaq.analysis.certificate.locality import locality
from lomaq.analysis.certificate.probe import Probe
from lomaq.analysis.certificate.report import Certificate, Check
from lomaq.analysis.certificate.truncation import truncation


@dataclass(frozen=True)
class CriticCertificate(Certificate):
    """What was checked of critics V_J and what came out; more in :class:`Certificate`.

    No mixer makes their values of utilities, so that nothing is asked of slopes, and greedy actions maximise nothing.

    Attributes:
        gradient: How much of the policy gradient comes from how far.
        decay: Decay of exact values under the policy of most probable actions, where these are known.
    """

    gradient: Gradient
    decay: ExactDecay | None = None

    subject, part, symbol = "critics", "algo", "V_J"

    @property
    def passed(self) -> bool:
        """Whether the critics are local and consistent."""
        return self.locality.passed and self.consistency.passed

    @property
    def asked(self) -> str:
        return "local, consistent; monotone, IGM and QSM are not asked of critics"

    def checks(self) -> list[Check]:
        result: list[Check] = [
            *self._sound(),
            ("truncation", None, self.truncation.line()),
            ("gradient", None, self.gradient.line()),
        ]
        return result if self.decay is None else [*result, ("exact decay", None, self.decay.line())]


def certify_critics(
    probe: Probe, gradient: Gradient, tolerance: float = 0.05, seed: int = 0, decay: ExactDecay | None = None
) -> CriticCertificate:
    """Run every check.

    Args:
        probe: The critics at M visited states, as a function of what the agents see, which ignores utilities.
        gradient: Result of :func:`lomaq.analysis.certificate.gradient.gradient` to put in.
        tolerance: As in :func:`truncation`.
        seed: Of all random numbers.
        decay: Result of :func:`exact_decay` to put in.

    Raises:
        InputError: If a number is impossible.
    """
    sizes = probe.graph.n_agents, probe.partition.n_blocks, probe.kappa, len(probe.utilities)
    found = locality(probe, seed), consistency(probe), truncation(probe, tolerance)
    return CriticCertificate(*sizes, *found, gradient, decay)
