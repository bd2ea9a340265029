"""Traffic signals as agents: a parallel environment, in PettingZoo's manner, on the simulator SUMO (libsumo)."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lomaq.envs.sumo.baselines import BASELINES
from lomaq.envs.sumo.nets import find_files, require
from lomaq.envs.sumo.network import Signal, read_network
from lomaq.envs.sumo.trips import METRICS, episode_metrics
from lomaq.errors import InputError, check_float, check_int

if TYPE_CHECKING:
    from gymnasium.spaces import Box, Discrete


class TrafficSignals:
    """Each signal chooses its green phase every few seconds.

    Actions:
        The number of a green phase of the signal's own program. Another one than the present is reached through yellow,
        and only ``yellow + min_green`` seconds or more after the last change; earlier the signal stays as it is.

    Observations, of one signal:
        The present phase (one-hot), whether a change is allowed, seconds since the last one / 60 (at most 2); for each
        lane that ends at it vehicles / 10, halting vehicles / 10 and their summed waiting time / 300 s (at most 3); for
        each approach the vehicles on all its roads up to the next signal upstream / 20.

    Rewards:
        −(slow + outside) / 10. Slow is the sum of n·(1 − v/v_max) over the lanes of the roads that drain through the
        signal, n vehicles at mean speed v in the last second of the decision; outside are vehicles that wait to enter
        these roads. The sum over signals and steps, times −10·delta, is about the delay of all vehicles in seconds.

    Episode:
        ``seconds`` long, then truncated. The same seed gives the same episode.

    Args:
        net: Name of a network, or the path of a ``.net.xml`` file.
        routes: Traffic, the path of a ``.rou.xml`` file, with a network of one's own.
        begin: Second in which an episode begins; None for the network's own, else the first departure.
        seconds: Length of an episode.
        delta: Seconds between decisions.
        yellow: Seconds of yellow between two phases, below ``delta``.
        min_green: Least seconds of green.
        cutoff: Longest road between neighbours in metres.
        teleport: Seconds of standing after which a vehicle jumps over its obstacle; −1 for never.
        ignore_edges: Edges at which vehicles enter that neither count in the metrics nor cost.
        most_cost: Largest cost of a signal in a step, in vehicles; None for no bound. In a gridlock all else is small.

    Raises:
        InputError: If a package, a file or a setting does not fit.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "sumo"}
    #: libsumo cannot hold two simulations.
    per_process = 1
    _running: ClassVar[TrafficSignals | None] = None
    baselines = ("fixed_time", *BASELINES)
    metrics = METRICS
    render_mode = None

    def __init__(
        self,
        net: str = "cologne8",
        routes: str | None = None,
        begin: int | None = None,
        seconds: int = 3600,
        delta: int = 10,
        yellow: int = 3,
        min_green: int = 7,
        cutoff: float = 600.0,
        teleport: int = -1,
        ignore_edges: Sequence[str] = (),
        most_cost: float | None = 30.0,
    ) -> None:
        require("libsumo", "env=sumo")
        from gymnasium.spaces import Box, Discrete

        self.files = find_files(net, routes)
        self.network = read_network(self.files.net, cutoff)
        self.begin = self.files.begin if begin is None else check_int("env.begin", begin, 0)
        self.delta = check_int("env.delta", delta, 1)
        self.yellow = check_int("env.yellow", yellow, 0, delta - 1)
        self.min_green = check_int("env.min_green", min_green, 1)
        self.steps = check_int("env.seconds", seconds, delta) // delta
        self.most_cost = np.inf if most_cost is None else check_float("env.most_cost", most_cost, 0, above=True)
        self.teleport, self.ignore_edges = teleport, tuple(ignore_edges)
        unknown = [edge for edge in self.ignore_edges if edge not in self.network.speed_limits]
        if unknown:
            raise InputError("env.ignore_edges", "edges with a signal downstream", unknown[0])
        self.signals: dict[str, Signal] = {signal.name: signal for signal in self.network.signals}
        self.possible_agents = [*self.signals]
        self.agents: list[str] = []
        self._spaces = {
            name: (Box(0, np.inf, (len(s.greens) + 2 + 3 * len(s.lanes) + len(s.approaches),)), Discrete(len(s.greens)))
            for name, s in self.signals.items()
        }
        self._layout(self.network.signals)
        self._seeds = np.random.default_rng()
        self._metrics: dict[str, float] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._sumo: Any = None

    def _layout(self, signals: Sequence[Signal]) -> None:
        """Where each signal's numbers stand in the vectors over all signals' phases, lanes, approaches and roads."""
        counts = {
            "phases": [len(s.greens) for s in signals],
            "signals": [1 for _ in signals],
            "lanes": [len(s.lanes) for s in signals],
            "approaches": [len(s.approaches) for s in signals],
        }
        limits = self.network.speed_limits
        roads = [  # of all signals, with the number of their approach
            (road, approach)
            for approach, roads in enumerate(chain.from_iterable(s.roads for s in signals))
            for road in roads
        ]
        self._roads = [road for road, _ in roads]
        self._counted = np.array([road not in self.ignore_edges for road in self._roads])
        self._road_approach = np.array([approach for _, approach in roads])
        self._road_lanes = [lane for road in self._roads for lane in limits[road]]
        self._limits = np.array([limit for road in self._roads for limit in limits[road].values()])
        self._lane_road = np.repeat(np.arange(len(roads)), [len(limits[road]) for road in self._roads])
        self._approach_signal = np.repeat(np.arange(len(signals)), counts["approaches"])
        self._lanes = [lane for s in signals for lane in s.lanes]
        self._lane_places = np.array([self._road_lanes.index(lane) for lane in self._lanes])
        self._first_phase = np.cumsum([0, *counts["phases"]])[:-1]
        parts = ("phases", "signals", "signals", "lanes", "lanes", "lanes", "approaches")  # of an observation
        owner = np.concatenate([np.repeat(np.arange(len(signals)), counts[part]) for part in parts])
        self._places = {s.name: np.flatnonzero(owner == i) for i, s in enumerate(signals)}
        self._n_phases = sum(counts["phases"])

    def observation_space(self, agent: str) -> Box:
        """Numbers from 0 on, as many as the signal has; see the class."""
        return self._spaces[agent][0]

    def action_space(self, agent: str) -> Discrete:
        """One of the signal's green phases."""
        return self._spaces[agent][1]

    # ------------------------------------------------------------------ episodes

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """Begin an episode; ``seed`` is the simulator's, and without one it is drawn."""
        if seed is not None:
            self._seeds = np.random.default_rng(seed)
        self._start(int(self._seeds.integers(2**31)) if seed is None else seed % 2**31)
        n = len(self.possible_agents)
        self.time, self._steps_left, self._metrics = self.begin, self.steps, {}
        self._phase, self._changed = np.zeros(n, int), np.full(n, self.begin - self.yellow - self.min_green)
        self._programmed = True  # the signals follow their programs until they are first told otherwise
        self._follow_programs = False
        self.agents = [*self.possible_agents]
        observations, _ = self._look()
        return observations, {name: {} for name in self.agents}

    def step(self, actions: Mapping[str, int]) -> tuple[dict[str, Any], ...]:
        """Show the chosen phases for ``delta`` seconds.

        Returns:
            Observations, rewards, terminations, truncations and infos, by signal; nothing once the episode is over.
        """
        if not self.agents:
            return {}, {}, {}, {}, {}
        end = self.time + self.delta
        if not self._follow_programs:
            self._show(np.array([actions[name] for name in self.possible_agents]))
        elif not self._programmed:
            for name, program in self._programs.items():
                self._sumo.trafficlight.setProgram(name, program)
        self._programmed, self._follow_programs = self._follow_programs, False
        self._sumo.simulationStep(end)
        self.time, self._steps_left = end, self._steps_left - 1
        names, over = self.agents, self._steps_left == 0
        observations, rewards = self._look()
        if over:
            self._finish()
        return (
            observations,
            dict(zip(names, rewards.tolist(), strict=True)),
            dict.fromkeys(names, False),
            dict.fromkeys(names, over),
            {name: {} for name in names},
        )

    def _show(self, chosen: np.ndarray) -> None:
        """Yellow where a signal changes, then its new green; returns when yellow is over."""
        lights = self._sumo.trafficlight
        changing = (chosen != self._phase) & self._may_change()
        for i in np.flatnonzero(changing):
            signal = self.network.signals[i]
            before, after = signal.greens[self._phase[i]], signal.greens[chosen[i]]
            lights.setRedYellowGreenState(signal.name, _yellow(before, after))
        if self._programmed:  # take over those that stay
            for i in np.flatnonzero(~changing):
                signal = self.network.signals[i]
                lights.setRedYellowGreenState(signal.name, signal.greens[self._phase[i]])
        if changing.any():
            if self.yellow:
                self._sumo.simulationStep(self.time + self.yellow)
            for i in np.flatnonzero(changing):
                signal = self.network.signals[i]
                lights.setRedYellowGreenState(signal.name, signal.greens[chosen[i]])
        self._phase = np.where(changing, chosen, self._phase)
        self._changed = np.where(changing, self.time, self._changed)

    def _may_change(self) -> np.ndarray:
        return self.time - self._changed >= self.yellow + self.min_green

    def _look(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Observations by signal, and rewards ``[N]``, of the last second."""
        lane, edge = self._sumo.lane, self._sumo.edge
        vehicles = np.array([lane.getLastStepVehicleNumber(name) for name in self._road_lanes], float)
        speed = np.array([lane.getLastStepMeanSpeed(name) for name in self._road_lanes])
        outside = np.array([len(edge.getPendingVehicles(name)) for name in self._roads], float)
        n, n_roads = len(self.possible_agents), len(self._roads)
        slow = np.bincount(self._lane_road, vehicles * np.maximum(0, 1 - speed / self._limits), n_roads)
        approach = np.bincount(self._road_approach, (slow + outside) * self._counted)
        rewards = -np.minimum(np.bincount(self._approach_signal, approach, n), self.most_cost) / 10
        self.lane_vehicles = vehicles[self._lane_places]
        self.lane_halting = np.array([lane.getLastStepHaltingNumber(name) for name in self._lanes], float)
        waiting = np.array([lane.getWaitingTime(name) for name in self._lanes])
        self.approach_vehicles = np.bincount(self._road_approach[self._lane_road], vehicles)
        phase = np.zeros(self._n_phases)
        phase[self._first_phase + self._phase] = 1
        parts = (
            phase,
            self._may_change(),
            np.minimum((self.time - self._changed) / 60, 2),
            self.lane_vehicles / 10,
            self.lane_halting / 10,
            np.minimum(waiting / 300, 3),
            self.approach_vehicles / 20,
        )
        flat = np.concatenate(parts, dtype=np.float32)
        return {name: flat[places] for name, places in self._places.items()}, rewards

    # ----------------------------------------------------------------- simulator

    def _start(self, seed: int) -> None:
        self.close()
        if TrafficSignals._running is not None:
            raise RuntimeError("libsumo cannot hold two simulations in a process; close() the other one first")
        os.environ.setdefault("SUMO_HOME", tempfile.gettempdir())  # asked for at import, needed for nothing here
        self._sumo = importlib.import_module("libsumo")
        self._folder = tempfile.TemporaryDirectory(prefix="lomaq-sumo-")
        options = {
            "net-file": self.files.net,
            "route-files": self.files.routes,
            "begin": self.begin,
            "seed": seed,
            "time-to-teleport": self.teleport,
            "tripinfo-output": self._trips,
            "tripinfo-output.write-unfinished": "true",
            "tripinfo-output.write-undeparted": "true",
            "no-warnings": "true",
            "no-step-log": "true",
        }
        self._sumo.start(["sumo", *chain.from_iterable((f"--{name}", str(value)) for name, value in options.items())])
        TrafficSignals._running = self
        self._programs = {name: self._sumo.trafficlight.getProgram(name) for name in self.signals}

    @property
    def _trips(self) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / "trips.xml"

    def _finish(self) -> None:
        """End the episode: SUMO writes the trips when it is closed."""
        outside = [self._sumo.edge.getPendingVehicles(edge) for edge in self.ignore_edges]
        self._stop()
        self._metrics = episode_metrics(self._trips, self.ignore_edges, {*chain.from_iterable(outside)})
        self.agents = []

    def _stop(self) -> None:
        if TrafficSignals._running is self:
            self._sumo.close()
            TrafficSignals._running = None

    def close(self) -> None:
        """End the simulation; a later reset begins anew."""
        self._stop()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
        self.agents = []

    # --------------------------------------------------------------------- hooks

    def episode_metrics(self) -> dict[str, float]:
        """Of the episode that is over; see :func:`lomaq.envs.sumo.trips.episode_metrics`."""
        return self._metrics

    def baseline(self, name: str) -> dict[str, int]:
        """The actions of a baseline policy in the present state.

        ``fixed_time`` leaves the signals to the network's own programs for the next step, whatever its actions are.
        """
        if name == "fixed_time":
            self._follow_programs = True
            return {agent: int(phase) for agent, phase in zip(self.signals, self._phase, strict=True)}
        return BASELINES[name](self)

    def graph(self) -> list[tuple[str, str]]:
        """Pairs of signals with a road from one to the other that is not too long and has no third between them."""
        names = self.possible_agents
        return [(names[i], names[j]) for i, j in self.network.neighbours]

    @property
    def positions(self) -> list[tuple[float, float]]:
        """Metres east and north of each signal."""
        return [signal.position for signal in self.network.signals]

    def signature(self, agent: str) -> str:
        """Equal for signals whose lanes and phases are alike, which may share a network."""
        return str(self.signals[agent].signature)

    @property
    def unwrapped(self) -> TrafficSignals:
        """Itself, as PettingZoo has it."""
        return self


def _yellow(before: str, after: str) -> str:
    """The state between two green phases: yellow for what loses its green."""
    return "".join("y" if a in "Gg" and b in "rs" else a for a, b in zip(before, after, strict=True))
