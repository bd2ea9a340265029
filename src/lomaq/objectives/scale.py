"""The value scale σ: lets networks learn values of the size of one, whatever the rewards' unit."""

from __future__ import annotations

from torch import Tensor

from lomaq.errors import check_float
from lomaq.nn.moments import deviation, moments


class ValueScale:
    """Bias-corrected moving average of the standard deviation of the raw λ-returns, one number a run.

    Networks give values in units of σ. When σ moves, the caller multiplies the networks' last layer by the returned
    ratio, so that what they say in the rewards' unit stays the same. There is no shift: a mean would be added |P| times
    in the sum of the blocks. The average is slow, since once
    a task is solved its returns hardly vary and a quick one would blow up what is left of the error.

    Args:
        decay: Weight of the past at each update, in [0, 1).
        floor: Smallest σ, for returns that do not vary, above 0.
    """

    def __init__(self, decay: float = 0.99, floor: float = 1e-3) -> None:
        self.decay = check_float("learner.scale_decay", decay, 0, 1, below=True)
        self.floor = check_float("learner.scale_floor", floor, 0, above=True)
        self.average, self.weight = 0.0, 0.0

    @property
    def sigma(self) -> float:
        """σ > 0; 1 before the first update."""
        return max(self.average / self.weight, self.floor) if self.weight else 1.0

    def update(self, returns: Tensor) -> float:
        """Take in the returns of one rollout.

        Args:
            returns: ``[K]`` raw λ-returns of all blocks and transitions of this process.

        Returns:
            σ before / σ after.
        """
        before = self.sigma
        self.average = self.decay * self.average + (1 - self.decay) * deviation(moments(returns))
        self.weight = self.decay * self.weight + (1 - self.decay)
        return before / self.sigma

    def state_dict(self) -> dict[str, float]:
        """What :meth:`load_state_dict` takes."""
        return {"average": self.average, "weight": self.weight}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a stored average."""
        self.average, self.weight = state["average"], state["weight"]

    def start(self, sigma: float) -> None:
        """Begin with another run's σ, as if its returns had been taken in once."""
        self.weight = 1 - self.decay
        self.average = self.weight * sigma
