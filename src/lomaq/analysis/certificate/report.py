"""What all certificates have: sizes, the checks that any function of what agents see must pass, and how it is said."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from lomaq.analysis.certificate.consistency import Consistency
from lomaq.analysis.certificate.locality import Locality
from lomaq.analysis.certificate.truncation import Truncation

VERDICTS = {True: "pass", False: "FAIL", None: ""}
#: Name, verdict (None where there is none to give) and what was found.
Check = tuple[str, "bool | None", str]


@dataclass(frozen=True)
class Certificate(ABC):
    """What was checked of the values of blocks, and what came out.

    Attributes:
        n_agents: Number of agents N.
        n_blocks: Number of blocks P.
        kappa: Hops within which a block may depend on agents.
        n_states: Visited states M.
        locality: Blind beyond?
        consistency: A function of one state?
        truncation: Value against distance.
    """

    n_agents: int
    n_blocks: int
    kappa: int
    n_states: int
    locality: Locality
    consistency: Consistency
    truncation: Truncation

    #: What was examined, in a word; the key of a configuration whose ``name`` says which; how a value is written.
    subject: ClassVar[str]
    part: ClassVar[str]
    symbol: ClassVar[str]

    @property
    @abstractmethod
    def passed(self) -> bool:
        """Whether nothing was found that must not be."""

    @property
    @abstractmethod
    def asked(self) -> str:
        """What passing asks for, in words."""

    @abstractmethod
    def checks(self) -> list[Check]:
        """All checks, in the order in which they are shown."""

    def to_json(self) -> dict[str, Any]:
        """Plain containers for ``json.dump``; numbers that are not finite become strings such as ``"inf"``."""
        content = asdict(self)
        for name, part in vars(self).items():
            if hasattr(part, "passed"):
                content[name] = {"passed": part.passed, **content[name]}
        text = json.dumps({"passed": self.passed, **content})
        return dict(json.loads(text, parse_constant=lambda number: str(float(number))))

    def lines(self) -> list[str]:
        """One line a check: name, verdict and what was found."""
        return [f"{name:<12}{VERDICTS[passed]:<6}{text}" for name, passed, text in self.checks()]

    def _sound(self) -> list[Check]:
        return [
            ("local", self.locality.passed, self.locality.line(self.kappa)),
            ("consistent", self.consistency.passed, self.consistency.line()),
        ]
