"""Traffic signals on the simulator SUMO, as one of our environments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from lomaq.envs.pettingzoo.env import PettingZoo
from lomaq.envs.sumo.nets import require
from lomaq.inputs.targets import Function


class Sumo(PettingZoo):
    """B parallel environments of :class:`~lomaq.envs.sumo.signals.TrafficSignals`, each in a process of its own.

    Actions, observations, rewards and most arguments are described there; ``docs/sumo.md`` has the whole.

    Args:
        net: Name of a network, or the path of a ``.net.xml`` file.
        routes: Traffic, the path of a ``.rou.xml`` file, with a network of one's own.
        begin: Second in which an episode begins; None for the network's own, else the first departure.
        seconds: Length of an episode.
        delta: Seconds between decisions.
        yellow: Seconds of yellow between two phases.
        min_green: Least seconds of green.
        cutoff: Longest road between neighbours in metres.
        teleport: Seconds of standing after which a vehicle jumps over its obstacle; −1 for never.
        ignore_edges: Edges at which vehicles enter that neither count nor cost.
        most_cost: Largest cost of a signal in a step, in vehicles; None for no bound.
        types: Which signals share a network: those with equal lanes and phases (``signature``), none (``agents``).
        processes: Simulators at once in an evaluation; None for one a core.
        timeout: Seconds that the slowest step or reset may take.
    """

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
        types: Literal["signature", "agents"] = "signature",
        processes: int | None = None,
        timeout: float = 60.0,
        *,
        n_envs: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        for package in ("gymnasium", "libsumo"):
            require(package, "env=sumo")
        from lomaq.envs.sumo.signals import TrafficSignals

        settings: dict[str, Any] = {
            "net": net,
            "routes": routes,
            "begin": begin,
            "seconds": seconds,
            "delta": delta,
            "yellow": yellow,
            "min_green": min_green,
            "cutoff": cutoff,
            "teleport": teleport,
            "ignore_edges": [*ignore_edges],
            "most_cost": most_cost,
        }
        signals = TrafficSignals(**settings)  # so that what is wrong is said here
        self.network = signals.network
        super().__init__(
            Function("lomaq.envs.sumo.signals:TrafficSignals"),
            settings,
            types=types,
            max_steps=signals.steps,
            processes=processes,
            timeout=timeout,
            n_envs=n_envs,
            seed=seed,
            device=device,
        )
