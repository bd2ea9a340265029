"""What the sun gives and the houses draw through a day: a stochastic model, or rows of a file."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lomaq.errors import InputError

#: Steps of a quarter of an hour in a day.
STEPS = 96
#: Autocorrelation of clouds and of loads from one quarter of an hour to the next.
CLOUDS, LOADS = 0.6, 0.9


class Profiles(Protocol):
    """Sun and load through a day. The state of B days is a tensor ``[B, K]``, which the caller keeps.

    Attributes:
        size: Numbers K of a day's state.
        peak_load: Largest load, in units of the nominal load.
    """

    size: int
    peak_load: float

    def draw(self, n_days: int, generator: torch.Generator) -> Tensor:
        """States ``[n_days, K]`` float32 at midnight."""
        raise NotImplementedError

    def following(self, state: Tensor, generator: torch.Generator) -> Tensor:
        """The state a quarter of an hour later."""
        raise NotImplementedError

    def read(self, state: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """Load in units of the nominal load and sun in units of the panels' peak, ``[B, N]``, at step ``time [B]``."""
        raise NotImplementedError


class Synthetic:
    """Smooth days with autocorrelated noise.

    With the hour h and standard normal numbers g and g' (of a day), x (of the feeder) and y_i, z_i (of each bus), of
    which x and y have autocorrelation 0.6 from step to step, and z 0.9:

    - load of bus i: (0.6 + 0.4 exp(-(h - 8)²/8) + 0.8 exp(-(h - 19)²/12.5)) exp(0.1 g + 0.25 z_i), at most 2;
    - sun at bus i: max(0, sin(π (h - 6) / 12)) · (0.25 + 0.75 / (1 + exp(-1 - g' - 1.5 x - 0.5 y_i))).

    Args:
        n_buses: Buses N.
        device: Where the tensors live.
    """

    peak_load = 2.0

    def __init__(self, n_buses: int, device: torch.device) -> None:
        self.n_buses, self.size = n_buses, 3 + 2 * n_buses  # g, g', x, y_i, z_i
        hour = torch.arange(STEPS, device=device) * (24 / STEPS)
        shape = 0.6 + 0.4 * (-((hour - 8) ** 2) / 8).exp() + 0.8 * (-((hour - 19) ** 2) / 12.5).exp()
        self._day = torch.stack([shape, (math.pi * (hour - 6) / 12).sin().clamp(min=0)])  # [2, STEPS]
        self._kept = torch.tensor([1.0] * 2 + [CLOUDS] * (1 + n_buses) + [LOADS] * n_buses, device=device)
        self._fresh = (1 - self._kept.square()).sqrt()

    def draw(self, n_days: int, generator: torch.Generator) -> Tensor:
        return torch.empty(n_days, self.size, device=self._day.device).normal_(generator=generator)

    def following(self, state: Tensor, generator: torch.Generator) -> Tensor:
        return (state * self._kept).addcmul_(self.draw(len(state), generator), self._fresh)

    def read(self, state: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        day, cloudy, x, y, z = state.split([1, 1, 1, self.n_buses, self.n_buses], dim=1)
        drawn, shone = self._day[:, time % STEPS, None]  # [B, 1] each
        load = z.mul(0.25).add_(0.1 * day).exp_().mul_(drawn).clamp_(max=self.peak_load)
        return load, y.mul(0.5).add_(1.5 * x + cloudy + 1).sigmoid_().mul_(0.75 * shone).add_(0.25 * shone)


class Recorded:
    """Whole days of a CSV file, drawn uniformly: a row a quarter of an hour, from midnight on.

    Columns ``load`` and ``sun`` are for all buses, ``load:NAME`` and ``sun:NAME`` for one; all are at least 0, load in
    units of the nominal load, sun in units of the panels' peak (at most 1).

    Args:
        path: The file.
        names: Names of the N buses.
        device: Where the tensors live.

    Raises:
        InputError: If the file is no such table.
    """

    size = 1  # the row of midnight

    def __init__(self, path: str, names: tuple[str, ...], device: torch.device) -> None:
        file = f"env.profiles: {path}"
        if not isinstance(path, str) or not Path(path).is_file():
            raise InputError("env.profiles", "synthetic or an existing CSV file", repr(path))
        try:
            with Path(path).open(encoding="utf-8-sig", newline="") as lines:
                header, *rows = list(csv.reader(lines))
            table = np.array(rows, dtype=np.float64)
        except (ValueError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(file, "a table of numbers with a header", str(error)) from error
        if (
            table.ndim != 2
            or len(table) < STEPS
            or len(table) % STEPS
            or not np.isfinite(table).all()
            or table.min() < 0
        ):
            expected = f"rows of numbers of at least 0, {STEPS} for each day"
            raise InputError(file, expected, f"{len(table)} rows, or other numbers")
        column = {name: k for k, name in enumerate(header)}
        missing = [
            f"{kind}:{bus}" for kind in ("load", "sun") for bus in names if not {kind, f"{kind}:{bus}"} & {*column}
        ]
        if missing:
            raise InputError(file, f"a column {missing[0]}, or one for all buses", ", ".join(header[:8]))
        load, sun = (
            torch.tensor(table[:, [column.get(f"{kind}:{bus}", column.get(kind, -1)) for bus in names]])
            for kind in ("load", "sun")
        )
        if sun.amax() > 1:
            raise InputError(file, "sun of at most 1, the panels' peak", float(sun.amax()))
        self.load, self.sun = load.float().to(device), sun.float().to(device)  # [days * STEPS, N]
        self.peak_load = float(load.amax())

    def draw(self, n_days: int, generator: torch.Generator) -> Tensor:
        days = len(self.load) // STEPS
        return STEPS * torch.randint(days, (n_days, 1), generator=generator, device=self.load.device).float()

    def following(self, state: Tensor, generator: torch.Generator) -> Tensor:
        return state

    def read(self, state: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        row = state[:, 0].long() + time % STEPS
        return self.load[row], self.sun[row]
