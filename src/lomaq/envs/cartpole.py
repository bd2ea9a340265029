"""Coupled-Multi-Cart-Pole (Section 5.1): carts on one track, neighbours joined by springs."""

from __future__ import annotations

import torch
from torch import Tensor

from lomaq.envs.base import BatchedEnv
from lomaq.errors import check_float, check_int
from lomaq.graphs import AgentGraph

GRAVITY = 9.8
CART_MASS, POLE_MASS, POLE_HALF_LENGTH = 1.0, 0.1, 0.5
TOTAL_MASS, POLE_MOMENT = CART_MASS + POLE_MASS, POLE_MASS * POLE_HALF_LENGTH
FORCE, DT = 10.0, 0.02
ANGLE_LIMIT = 0.2094  # 12 degrees, in rad
REST_DISTANCE = 1.0


class CartPole(BatchedEnv):
    """n cart-poles in a row, joined by springs of rest length 1 and, at both ends, to walls.

    Classic cart-pole constants, explicit Euler with 0.02 s; every cart also feels k(x_left - x) + k(x_right - x) in
    offsets from rest places, all positions taken at the start of the step. (The paper's code moves the carts one after
    the other.) A fallen cart freezes where it is, its springs still pull. The graph is a line.

    - Actions: 0 pushes left, 1 pushes right, with a force of 10.
    - Observations ``[4]``: offset from its rest place, velocity, angle (rad), angular velocity (rad/s).
    - Reward: 1 per agent and step while its pole is up: angle at most 12 degrees and the cart between one rest distance
      left of the first rest place and one right of the last. Judged on the state before the step.
    - Start: offset uniform in ±0.1, velocity, angle and angular velocity uniform in ±0.05.
    - End: terminated by the step after all have fallen; truncated after ``max_steps``.

    Args:
        n_agents: Number of carts, at least 1.
        stiffness: Spring constant k, at least 0.

    The other arguments are those of :class:`BatchedEnv`.
    """

    state_names = ("offset", "velocity", "angle", "spin")

    def __init__(
        self,
        n_agents: int = 15,
        stiffness: float = 10.0,
        max_steps: int = 200,
        permute: bool | int = False,
        *,
        n_envs: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_int("env.n_agents", n_agents, 1)
        self.stiffness = check_float("env.stiffness", stiffness, 0)
        super().__init__(
            AgentGraph.line(n_agents),
            n_envs=n_envs,
            n_actions=2,
            obs_size=4,
            max_steps=max_steps,
            seed=seed,
            device=device,
            permute=permute,
        )
        self.best_return = float(n_agents * self.max_steps)
        rest = torch.arange(n_agents, dtype=torch.float32, device=self.device)
        self._lowest, self._highest = -REST_DISTANCE - rest, n_agents * REST_DISTANCE - rest  # allowed offsets, [N]
        shape = (n_envs, n_agents)
        self.offset, self.velocity, self.angle, self.spin = (torch.zeros(shape, device=self.device) for _ in range(4))

    def _reset_state(self, rows: Tensor) -> None:
        start = self.uniform(4, len(rows), self.n_agents, low=-0.05, high=0.05)
        start[0] *= 2
        for name, value in zip(self.state_names, start, strict=True):
            getattr(self, name).index_copy_(0, rows, value)

    def up(self) -> Tensor:
        """``[B, N]`` bool, whose poles are up."""
        inside = (self.offset >= self._lowest) & (self.offset <= self._highest)
        return inside & (self.angle.abs() <= ANGLE_LIMIT)

    def _advance(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        up = self.up()
        x, angle, spin = self.offset, self.angle, self.spin
        pull = x * -2.0
        pull[:, 1:] += x[:, :-1]
        pull[:, :-1] += x[:, 1:]
        force = (actions * (2 * FORCE)).sub_(FORCE).add_(pull, alpha=self.stiffness)
        sine, cosine = angle.sin(), angle.cos()
        push = force.addcmul_(spin * spin, sine, value=POLE_MOMENT).div_(TOTAL_MASS)
        swing = sine.mul_(GRAVITY).addcmul_(cosine, push, value=-1)
        swing /= (cosine * cosine).mul_(-POLE_HALF_LENGTH * POLE_MASS / TOTAL_MASS).add_(POLE_HALF_LENGTH * 4 / 3)
        pace = DT * up  # 0 for the fallen: they freeze
        acceleration = push.addcmul_(swing, cosine, value=-POLE_MOMENT / TOTAL_MASS)
        self.offset.addcmul_(self.velocity, pace)
        self.velocity.addcmul_(acceleration, pace)
        self.angle.addcmul_(spin, pace)
        self.spin.addcmul_(swing, pace)
        return up.float(), ~up.any(dim=1)

    def observe(self) -> Tensor:
        return torch.stack([self.offset, self.velocity, self.angle, self.spin], dim=-1)
