"""Bounded-Cooperative-Navigation (Section 5.1): particles that cover landmarks, each bound to its own region."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from lomaq.envs.base import BatchedEnv
from lomaq.envs.matching import match, outside, steer
from lomaq.errors import check_choice, check_float, check_int
from lomaq.graphs import AgentGraph, RegionShape, csr_matrix

DT, DAMPING, FORCE = 0.1, 0.25, 5.0
AGENT_RADIUS, LANDMARK_RADIUS, HALF_WIDTH = 0.15, 0.1, 1.0
CONTACT_FORCE, CONTACT_MARGIN = 100.0, 1e-3
COVER_DISTANCE, CONTACT_DISTANCE = AGENT_RADIUS + LANDMARK_RADIUS, 2 * AGENT_RADIUS
BONUS, BONUS_DISTANCE = 0.01 * 0.1, 0.1
SPACING = {"line": 0.75, "grid": 1.5}


class Navigation(BatchedEnv):
    """n particles and n landmarks; every particle stays within its region and all together cover the landmarks.

    Velocity loses a quarter a step, force 5 for 0.1 s moves a mass of 1; soft contact between agents closer than 0.3;
    positions are clipped to the agent's region. The graph has an edge where two regions overlap. Contact and landmarks
    work along pairs that can ever meet, found once, so cost grows with n. The baseline policy, :meth:`oracle`, matches
    all agents with landmarks centrally and steers each to its own; good, not optimal.

    - Actions: 0 none, 1 pushes -x, 2 +x, 3 -y, 4 +y.
    - Observations: velocity (2), position relative to the base (2), k relative landmark positions (2k), their distances
      (k), and 0 or, on a landmark, 1 + the number of others on the landmarks I am on (1); k = highest degree + 1. Which
      landmarks: ``paper`` takes first those inside the agent's region in index order, then the nearest others (to the
      base, so that a slot keeps its landmark through an episode); ``indexed`` the agent's own, then those of the k - 1
      nearest bases in index order.
    - Reward: each landmark pays 1 a step, shared equally by the agents closer than 0.25; plus, for each landmark that
      an agent can be near, 0.001 / max(0.1, distance). Judged on the state before the step.
    - Start: each agent at rest and each landmark uniform in the region of its number.
    - End: never terminated; truncated after ``max_steps``.

    Args:
        n_agents: Number of particles and of landmarks, at least 1.
        layout: ``line`` or ``grid`` (near square, filled row by row) of bases.
        regions: ``square`` of half width 1 or ``circle`` of radius 1.
        observation: ``paper`` or ``indexed``.
        spacing: Distance of neighbouring bases, above 0; None for 0.75 on the line, 1.5 on the grid.

    The other arguments are those of :class:`BatchedEnv`.
    """

    state_names = ("position", "velocity", "landmark", "slot")

    def __init__(
        self,
        n_agents: int = 15,
        layout: Literal["line", "grid"] = "line",
        regions: RegionShape = "square",
        observation: Literal["paper", "indexed"] = "paper",
        spacing: float | None = None,
        max_steps: int = 50,
        permute: bool | int = False,
        *,
        n_envs: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        n = check_int("env.n_agents", n_agents, 1)
        check_choice("env.layout", layout, ("line", "grid"))
        check_choice("env.regions", regions, ("square", "circle"))
        self.regions = regions
        self.observation = check_choice("env.observation", observation, ("paper", "indexed"))
        gap = SPACING[layout] if spacing is None else check_float("env.spacing", spacing, 0, above=True)
        number = np.arange(n)
        columns = n if layout == "line" else math.ceil(math.sqrt(n))
        bases = np.stack([number % columns, number // columns], axis=1) * gap
        graph = AgentGraph.regions(bases, HALF_WIDTH, regions)
        self.n_slots = int(graph.degree.max()) + 1
        obs_size = 5 + 3 * self.n_slots
        sizes: dict[str, Any] = {"n_envs": n_envs, "n_actions": 5, "obs_size": obs_size, "max_steps": max_steps}
        super().__init__(graph, **sizes, seed=seed, device=device, permute=permute)
        self._build_pairs(bases)
        where, b = self.device, n_envs  # the batch comes last inside, so that pairs gather whole rows
        self.position, self.velocity, self.landmark = (torch.zeros(n, 2, b, device=where) for _ in range(3))
        self.slot = torch.zeros(n, self.n_slots, b, dtype=torch.int64, device=where)
        self._refresh()
        self.moves = FORCE * torch.tensor([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], dtype=torch.float32, device=where)

    # ------------------------------------------------------------ built once

    def _build_pairs(self, bases: np.ndarray) -> None:
        n, where = len(bases), self.device
        first, second = (x.to(where) for x in _pairs_within(bases, CONTACT_DISTANCE, self.regions))
        self._first, self._second, pair = first, second, torch.arange(len(first), device=where)
        sign = torch.ones(len(first), device=where)
        self._contact = csr_matrix(  # [N, pairs]: adds a pair's force to the one, subtracts it from the other
            torch.cat([first, second]), pair.repeat(2), torch.cat([sign, -sign]), (n, len(first))
        )

        first, second = (x.to(where) for x in _pairs_within(bases, COVER_DISTANCE, self.regions))
        own = torch.arange(n, device=where)
        self._agent, self._landmark = torch.cat([own, first, second]), torch.cat([own, second, first])
        pair, one = torch.arange(len(self._agent), device=where), torch.ones(len(self._agent), device=where)
        self._by_agent = csr_matrix(self._agent, pair, one, (n, len(pair)))
        self._by_landmark = csr_matrix(self._landmark, pair, one, (n, len(pair)))

        self.base = torch.tensor(bases, dtype=torch.float32, device=where)[..., None]  # [N, 2, 1]
        nearest, candidates = _candidates(bases, self.n_slots)
        self._nearest = torch.from_numpy(nearest).to(where)  # [N, k]
        self._candidates = torch.from_numpy(candidates).to(where)  # [N, M], -1 where there are fewer

    # ---------------------------------------------------------------- dynamics

    def _reset_state(self, rows: Tensor) -> None:
        shape = (self.n_agents, 2, len(rows))
        for name in ("position", "landmark"):
            getattr(self, name).index_copy_(2, rows, self.base + self._draw(shape))
        self.velocity.index_fill_(2, rows, 0.0)
        self.slot.index_copy_(2, rows, self._choose_slots(self.landmark.index_select(2, rows)))
        self._refresh()

    def _draw(self, shape: tuple[int, int, int]) -> Tensor:
        """Offsets ``[N, 2, K]`` uniform in a region."""
        if self.regions == "square":
            return self.uniform(*shape, low=-HALF_WIDTH, high=HALF_WIDTH)
        radius, angle = self.uniform(2, shape[0], shape[2], low=0, high=1)
        radius, angle = HALF_WIDTH * radius.sqrt(), 2 * math.pi * angle
        return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)

    def _choose_slots(self, landmark: Tensor) -> Tensor:
        """Landmarks ``[N, k, K]`` that each agent observes, for landmark positions ``[N, 2, K]``."""
        if self.observation == "indexed":
            return self._nearest[..., None].expand(-1, -1, landmark.size(2))
        candidates = self._candidates
        offset = landmark[candidates.clamp(min=0)] - self.base[:, None]  # [N, M, 2, K]
        distance = offset.norm(dim=2)
        inside = (distance if self.regions == "circle" else offset.abs().amax(dim=2)) <= HALF_WIDTH
        order = torch.arange(candidates.size(1), device=landmark.device, dtype=torch.float32)[:, None]
        key = torch.where(inside, order, candidates.size(1) + distance)
        key.masked_fill_((candidates < 0)[..., None], math.inf)
        chosen = key.argsort(dim=1, stable=True)[:, : self.n_slots]
        return candidates[..., None].expand_as(key).gather(1, chosen)

    def _refresh(self) -> None:
        """Recompute what follows from the state."""
        index = self.slot[:, :, None].expand(-1, -1, 2, -1)
        self.slot_place = self.landmark.gather(0, index.flatten(0, 1)).view(index.shape)
        self._measure()

    def _measure(self) -> None:
        """Who is on which landmark now: the local reward and the observed count, both ``[N, B]``."""
        apart = self.position.index_select(0, self._agent) - self.landmark.index_select(0, self._landmark)
        distance = apart.square_().sum(dim=1).sqrt_()  # [pairs, B]
        on = (distance < COVER_DISTANCE).float()
        visitors = (self._by_landmark @ on).index_select(0, self._landmark)  # [pairs, B]
        pay = on / visitors.clamp(min=1) + BONUS / distance.clamp_(min=BONUS_DISTANCE)
        total = self._by_agent @ torch.cat([pay, on * (visitors - 1), on], dim=1)
        self._reward, others, mine = total.chunk(3, dim=1)
        self._count = others + (mine > 0)

    def _advance(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        reward = self._reward.T.contiguous()
        force = self.moves[actions.T].transpose(1, 2)  # [N, 2, B]
        if len(self._first):
            apart = self.position.index_select(0, self._first) - self.position.index_select(0, self._second)
            distance = apart.square().sum(dim=1).sqrt_()  # [pairs, B]
            overlap = torch.nn.functional.softplus(CONTACT_DISTANCE - distance, beta=1 / CONTACT_MARGIN)
            strength = (overlap * CONTACT_FORCE).div_(distance.clamp_(min=1e-9))
            push = apart.mul_(strength[:, None]).flatten(1)
            force = force + (self._contact @ push).view_as(force)
        self.velocity.mul_(1 - DAMPING).add_(force, alpha=DT)
        offset = self.position.add_(self.velocity, alpha=DT) - self.base
        if self.regions == "square":
            offset.clamp_(-HALF_WIDTH, HALF_WIDTH)
        else:
            offset /= offset.norm(dim=1, keepdim=True).div_(HALF_WIDTH).clamp_(min=1)
        torch.add(self.base, offset, out=self.position)
        self._measure()
        return reward, torch.zeros(self.n_envs, dtype=torch.bool, device=self.device)

    def observe(self) -> Tensor:
        relative = self.slot_place - self.position[:, None]  # [N, k, 2, B]
        distance = relative.square().sum(dim=2).sqrt_()
        parts = [self.velocity, self.position - self.base, relative.flatten(1, 2), distance, self._count[:, None]]
        return torch.cat(parts, dim=1).permute(2, 0, 1).contiguous()

    def oracle(self) -> Tensor:
        """Actions ``[B, N]`` int64 of a central matching of agents with landmarks that they can cover, at every step.

        The matching has the least sum over agents of |Δx| + |Δy| (pushes are along the axes) from where an agent
        would coast to; then each steers to its landmark. It ignores contact, and that an agent may cover two landmarks.
        """
        landmark = self.landmark.index_select(0, self._landmark)  # [pairs, 2, B]
        gap = outside(landmark - self.base.index_select(0, self._agent), HALF_WIDTH, self.regions)
        rest = self.position + self.velocity * (DT * (1 - DAMPING) / DAMPING)
        cost = (landmark - rest.index_select(0, self._agent)).abs().sum(dim=1)
        chosen = match(cost.masked_fill(gap >= COVER_DISTANCE, math.inf), self._agent, self._landmark)  # [N, B]
        offset = self.landmark.gather(0, chosen[:, None].expand(-1, 2, -1)) - self.position
        return steer(offset, self.velocity, DT * self.moves, 1 - DAMPING, DT)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._refresh()


def _pairs_within(bases: np.ndarray, reach: float, regions: RegionShape) -> Tensor:
    """Pairs ``[2, E]`` of bases whose regions come as near as ``reach`` to each other, each pair once."""
    pairs = cKDTree(bases).query_pairs(2 * HALF_WIDTH * math.sqrt(2) + reach, output_type="ndarray")
    apart = torch.from_numpy(bases[pairs[:, 0]] - bases[pairs[:, 1]])[..., None]
    gap = outside(apart, 2 * HALF_WIDTH, regions)[:, 0]
    return torch.from_numpy(pairs.astype(np.int64))[gap <= reach + 1e-9].T.contiguous()


def _candidates(bases: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """For each base: itself and its k - 1 nearest in index order; and all whose landmark may be among the k nearest."""
    tree = cKDTree(bases)
    distance, found = tree.query(bases, k=[*range(1, min(len(bases), 4 * k) + 1)])  # more than k, to settle ties
    order = np.lexsort((found, np.round(distance, 9)), axis=1)
    found, distance = (np.take_along_axis(x, order, axis=1)[:, :k] for x in (found, distance))
    nearest = np.concatenate([found[:, :1], np.sort(found[:, 1:], axis=1)], axis=1)
    reach = distance[:, -1] + 2 * math.sqrt(2) * HALF_WIDTH  # a landmark strays sqrt(2) from its base
    rows = [sorted(row) for row in tree.query_ball_point(bases, reach + 1e-9)]
    candidates = np.full((len(bases), max(map(len, rows))), -1, dtype=np.int64)
    for i, row in enumerate(rows):  # built once
        candidates[i, : len(row)] = row
    return nearest, candidates
