"""The networked environments of the package ``cognac``, through the PettingZoo adapter."""

from __future__ import annotations

from typing import Literal

import torch

from lomaq.envs.pettingzoo.env import PettingZoo
from lomaq.errors import check_choice, check_float, check_int
from lomaq.inputs.targets import Function


class Cognac(PettingZoo):
    """COGNAC's benchmarks: agents on a random influence matrix, whose rewards and observations are local.

    The graph is that of the influence matrix, which is directed and weighted: a note says what is left of it.

    Args:
        task: ``firefighting`` (a row of houses, an agent between two), ``sysadmin``, ``consensus``, or ``flow``, whose
            continuous actions become steps: spread evenly, or send all along one edge.
        n_agents: Number of agents, at least 2.
        density: Share of the pairs of agents with an edge; firefighting has a row.
        matrix_seed: Seed of the influence matrix.
        max_steps: Time limit of an episode.
        processes: Processes of the parallel environments; None for one a core.
        timeout: Seconds that the slowest step or reset may take.
    """

    def __init__(
        self,
        task: Literal["firefighting", "sysadmin", "consensus", "flow"] = "sysadmin",
        n_agents: int = 10,
        density: float = 0.2,
        matrix_seed: int = 0,
        max_steps: int = 100,
        processes: int | None = None,
        timeout: float = 60.0,
        *,
        n_envs: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_choice("env.task", task, ("firefighting", "sysadmin", "consensus", "flow"))
        args = {
            "task": task,
            "n_agents": check_int("env.n_agents", n_agents, 2),
            "density": check_float("env.density", density, 0, 1),
            "matrix_seed": check_int("env.matrix_seed", matrix_seed, 0, 2**32 - 1),
            "max_steps": check_int("env.max_steps", max_steps, 1),
        }
        super().__init__(
            Function("lomaq.envs.pettingzoo.cognac_factory:make"),
            args,
            max_steps=max_steps,
            processes=processes,
            timeout=timeout,
            n_envs=n_envs,
            seed=seed,
            device=device,
        )
