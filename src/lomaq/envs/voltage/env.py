"""Voltage control: inverters on a distribution feeder keep its voltages in their band."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lomaq.envs.base import BatchedEnv, PolicyFn
from lomaq.envs.voltage import baselines
from lomaq.envs.voltage.feeder import Feeder
from lomaq.envs.voltage.flow import Flow, products_needed
from lomaq.envs.voltage.profiles import STEPS, Profiles, Recorded, Synthetic
from lomaq.errors import InputError, check_float, check_int
from lomaq.graphs import AgentGraph

#: Half the width of the band that voltages may be in, per unit, and what a unit outside of it costs.
BAND, PENALTY = 0.05, 100.0
#: Scale of the observed voltage: the band becomes [-1, 1].
VOLTAGE_SCALE = 1 / BAND
#: What is summed up of the present episode; and the last of them, the largest.
MEASURED = ("steps", "violated", "violation", "losses", "worst")
WORST = 4


class Voltage(BatchedEnv):
    """Inverters of solar panels choose the reactive power that holds the voltages of their feeder.

    Loads pull the voltage down in the evening and the sun pushes it up at noon; each inverter can draw or feed reactive
    power, which lowers or raises the voltage at its bus and, less, at all buses whose way from the substation it
    shares. Voltages are the exact AC power flow. A step is a quarter of an hour, an episode a day. The graph joins
    inverters that are neighbours along the feeder.

    - Actions: steps of reactive power, evenly from drawing all to feeding all; the middle one is none.
    - Observations ``[7]``: voltage at the agent's bus in the last step, 20 (|v| - 1); sun and load there now; its last
      reactive power in [-1, 1]; sine and cosine of the time of the day; its panels' peak, relative to the mean.
    - Reward: -100 Σ max(0, ||v| - 1| - 0.05) - ``cost`` q², over the agent's bus and those without an inverter that are
      nearest to it, with its reactive power q in [-1, 1]; of the state that the step led to.
    - Start: midnight of a new day, no reactive power.
    - End: never terminated; truncated after ``max_steps``.

    Args:
        feeder: ``bus33``, ``bus69``, ``generated`` or a file, see :meth:`Feeder.named`.
        n_buses: Buses of a generated feeder, from 3 to 1,001 with the substation; else None.
        feeder_seed: Seed of a generated feeder, at least 0.
        inverters: ``all`` buses with a load, a share of them in (0, 1], those with the largest loads, or a list of
            their names.
        steps: Steps of reactive power A, odd and at least 3.
        load: Mean load in units of the nominal load, above 0.
        sun: Peak of a bus's panels in units of its mean load, above 0.
        reactive: Largest reactive power in units of that peak, above 0.
        cost: Price of all of an inverter's reactive power in a step, at least 0.
        profiles: ``synthetic`` (:class:`~lomaq.envs.voltage.profiles.Synthetic`) or a CSV file
            (:class:`~lomaq.envs.voltage.profiles.Recorded`).

    The other arguments are those of :class:`BatchedEnv`.

    Attributes:
        bus: ``[N]`` int64, the bus of each inverter.
        voltage: ``[B, buses]`` float64, magnitudes per unit.
        reactive: ``[B, N]`` float32, the last reactive power, in [-1, 1].

    Raises:
        InputError: If a number is out of range, a file damaged, or the feeder cannot carry its peak load.
    """

    state_names = ("voltage", "reactive", "weather", "measured")

    def __init__(
        self,
        feeder: str = "bus33",
        n_buses: int | None = None,
        feeder_seed: int = 0,
        inverters: str | float | Sequence[str] = "all",
        steps: int = 5,
        load: float = 0.7,
        sun: float = 4.0,
        reactive: float = 0.6,
        cost: float = 0.05,
        profiles: str = "synthetic",
        max_steps: int = STEPS,
        permute: bool | int = False,
        *,
        n_envs: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if check_int("env.steps", steps, 3) % 2 == 0:
            raise InputError("env.steps", "an odd number, so that one of them is none", steps)
        for name, value in {"load": load, "sun": sun, "reactive": reactive}.items():
            check_float(f"env.{name}", value, 0, above=True)
        self.cost = check_float("env.cost", cost, 0)
        self.feeder = Feeder.named(feeder, n_buses, feeder_seed)
        chosen = _with_inverter(self.feeder, inverters)
        edges, place = self.feeder.neighbours(chosen), torch.from_numpy(self.feeder.place()[chosen])
        names = [self.feeder.names[bus] for bus in chosen]
        graph = AgentGraph.from_edges(len(chosen), edges, pos=place, names=names)
        sizes: dict[str, Any] = {"n_envs": n_envs, "n_actions": steps, "obs_size": 7, "max_steps": max_steps}
        super().__init__(graph, **sizes, seed=seed, device=device, permute=permute)
        where = self.device
        self.bus = torch.tensor(chosen, device=where)
        self._active, self._drawn = (
            torch.tensor(part * load, dtype=torch.float32, device=where)
            for part in (self.feeder.load.real, self.feeder.load.imag)
        )  # [buses], mean load
        peak = sun * self._active[self.bus]  # [N], of the panels
        self._panels = torch.zeros_like(self._active).index_copy(0, self.bus, peak)  # [buses]
        self._most, self._relative = reactive * peak, peak / peak.mean()  # [N]
        self._zone = torch.from_numpy(self.feeder.nearest(chosen)).to(where)
        self.profiles: Profiles = (
            Synthetic(self.feeder.n_buses, where)
            if profiles == "synthetic"
            else Recorded(profiles, self.feeder.names, where)
        )
        self.flow = Flow(self.feeder.shared, self._needed(), where)
        self._empty(n_envs)

    def _empty(self, n_envs: int) -> None:
        where, exact = self.device, torch.float64
        self.voltage = torch.ones(n_envs, self.feeder.n_buses, dtype=exact, device=where)
        self.reactive = torch.zeros(n_envs, self.n_agents, device=where)
        self.weather = torch.zeros(n_envs, self.profiles.size, device=where)
        self.measured = torch.zeros(n_envs, len(MEASURED), dtype=exact, device=where)

    def fresh(self, n_envs: int, seed: int) -> Voltage:
        """``n_envs`` parallel environments of this feeder with their own generator."""
        env = copy.copy(self)  # shares what never changes
        env.n_envs = n_envs
        env.generator = torch.Generator(self.device).manual_seed(seed)
        env.time = torch.zeros(n_envs, dtype=torch.int64, device=self.device)
        env._empty(n_envs)
        return env

    def _needed(self) -> int:
        """Products of the flow at its hardest: all loads at their peak and no sun, or the other way round."""
        load = torch.complex(self._active, self._drawn) * self.profiles.peak_load
        most = torch.zeros_like(self._active).index_copy(0, self.bus, self._most)
        hardest = [power + 1j * sign * most for power in (load, -self._panels) for sign in (-1, 1)]
        needed = products_needed(torch.stack(hardest).cpu().numpy(), self.feeder.shared)
        if needed is None:
            remedy = "smaller env.load, env.sun or env.reactive"
            raise InputError("env.feeder", "a feeder that carries its peak load and sun", "a voltage collapse", remedy)
        return needed

    # ---------------------------------------------------------------- dynamics

    def _reset_state(self, rows: Tensor) -> None:
        self.weather[rows] = self.profiles.draw(len(rows), self.generator)
        self.reactive[rows] = 0.0
        self.measured[rows] = 0.0
        self.voltage[rows] = self.solve(*self.forecast(), self.reactive)[0][rows]

    def forecast(self) -> tuple[Tensor, Tensor]:
        """Load and sun of the coming step, ``[B, buses]``, see :meth:`Profiles.read`."""
        return self.profiles.read(self.weather, self.time)

    def solve(self, load: Tensor, sun: Tensor, reactive: Tensor) -> tuple[Tensor, Tensor]:
        """Voltages ``[B, buses]`` and losses ``[B]``, per unit, float64.

        Args:
            load: ``[B, buses]``, see :meth:`forecast`.
            sun: ``[B, buses]``.
            reactive: ``[B, N]``, in [-1, 1].
        """
        active = torch.addcmul(load * self._active, sun, self._panels, value=-1)
        drawn = (load * self._drawn).index_add(1, self.bus, reactive * self._most, alpha=-1)
        return self.flow(active, drawn)

    def price(self, voltage: Tensor, reactive: Tensor) -> Tensor:
        """Less the sum of all rewards ``[B]``, of magnitudes ``[B, buses]`` and reactive power ``[B, N]``."""
        violation = ((voltage - 1).abs() - BAND).clamp(min=0)
        return PENALTY * violation.sum(dim=1) + self.cost * reactive.square().sum(dim=1)

    def nearest(self, reactive: Tensor) -> Tensor:
        """The actions ``[B, N]`` whose reactive power is the nearest."""
        half = (self.n_actions - 1) / 2
        return ((reactive + 1) * half).round().long()

    def _advance(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        return self.feed(actions.float().mul_(2 / (self.n_actions - 1)).sub_(1)), torch.zeros(
            self.n_envs, dtype=torch.bool, device=self.device
        )

    def feed(self, reactive: Tensor) -> Tensor:
        """Feed any reactive power ``[B, N]`` in [-1, 1] for a step: local rewards ``[B, N]`` float32."""
        self.reactive = reactive
        self.voltage, losses = self.solve(*self.forecast(), reactive)
        violation = ((self.voltage - 1).abs_() - BAND).clamp_(min=0)  # [B, buses]
        self._measure(violation, losses)
        self.weather = self.profiles.following(self.weather, self.generator)
        local = violation.new_zeros(self.n_envs, self.n_agents).index_add_(1, self._zone, violation)
        return (-PENALTY * local).float().sub_(self.cost * reactive.square())

    def _measure(self, violation: Tensor, losses: Tensor) -> None:
        worst = violation.amax(dim=1)
        now = torch.stack([torch.ones_like(worst), worst > 0, violation.mean(dim=1), losses, worst], dim=1)
        highest = torch.maximum(self.measured[:, WORST], worst)
        self.measured = self.measured + now
        self.measured[:, WORST] = highest

    def observe(self) -> Tensor:
        load, sun = (x.index_select(1, self.bus) for x in self.forecast())
        voltage = ((self.voltage.index_select(1, self.bus) - 1) * VOLTAGE_SCALE).float()
        angle = self.time * (2 * math.pi / STEPS)
        clock = (wave[:, None].expand_as(load) for wave in (angle.sin(), angle.cos()))
        return torch.stack([voltage, sun, load, self.reactive, *clock, self._relative.expand_as(load)], dim=-1)

    def episode_metrics(self) -> dict[str, Tensor]:
        """Of the present episode so far, ``[B]`` float64 each.

        ``violated_share`` of time steps with any voltage out of its band; ``mean_violation`` over buses and steps and
        ``worst_violation`` (per unit, beyond the band); ``losses`` of the lines in MWh.
        """
        steps, violated, violation, losses, worst = self.measured.unbind(dim=1)
        taken = steps.clamp(min=1)
        return {
            "violated_share": violated / taken,
            "mean_violation": violation / taken,
            "worst_violation": worst,
            "losses": losses * (24 / STEPS),
        }

    # ------------------------------------------------------- baseline policies

    def baselines(self) -> dict[str, PolicyFn]:
        """Policies without learning, see :mod:`lomaq.envs.voltage.baselines`."""
        return baselines.policies(self)

    @cached_property
    def tuned(self) -> dict[str, tuple[float, ...]]:
        """Start, end and response of the tuned Volt/VAr curves."""
        return baselines.tune(self)

    def oracle(self) -> Tensor:
        """Actions ``[B, N]`` nearest to the reactive powers of the central optimiser."""
        return self.nearest(baselines.optimum(self, *self.forecast()))

    def references(self) -> dict[str, float]:
        """Mean returns of the baseline policies and of the central optimum, on the same days.

        On feeders of more than 100 buses, where the others take minutes, ``no_control`` and ``droop_ieee1547`` alone.
        """
        if self.feeder.n_buses > baselines.MOST_OPTIMISED:
            rules = baselines.policies(self)
            found = {name: baselines.play(self, rules[name]) for name in ("no_control", "droop_ieee1547")}
        else:
            found = baselines.measured(self)
        return {name: float(measured["return"].mean()) for name, measured in found.items()}


def _with_inverter(feeder: Feeder, inverters: str | float | Sequence[str]) -> list[int]:
    """The buses that have one, in the order of the feeder."""
    loaded = np.flatnonzero(feeder.load.real > 0)
    if inverters == "all":
        return [int(bus) for bus in loaded]
    if isinstance(inverters, (int, float)):
        share = check_float("env.inverters", inverters, 0, 1, above=True)
        count = max(1, round(share * len(loaded)))
        return sorted(int(bus) for bus in loaded[np.argsort(-feeder.load.real[loaded], kind="stable")][:count])
    number = {feeder.names[bus]: int(bus) for bus in loaded}
    names = (
        [] if isinstance(inverters, str) or not isinstance(inverters, Sequence) else [str(name) for name in inverters]
    )
    if not names or len({*names}) != len(names) or not {*names} <= {*number}:
        expected = f"all, a share in (0, 1], or names of buses with a load: {', '.join([*number][:8])}, …"
        raise InputError("env.inverters", expected, repr(inverters))
    return sorted(number[name] for name in names)
