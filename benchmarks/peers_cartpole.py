"""The coupled cart-poles of ``env=cartpole`` for JaxMARL, so that both libraries train on one task."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import struct
from jaxmarl.environments.multi_agent_env import MultiAgentEnv
from jaxmarl.environments.spaces import Box, Discrete

from lomaq.envs import CartPole, cartpole


@struct.dataclass
class State:
    """One row of carts: ``[4, N]`` offset, velocity, angle and angular velocity, and the step of its episode."""

    carts: jax.Array
    step: jax.Array


class CoupledCartPole(MultiAgentEnv):
    """As :class:`lomaq.envs.CartPole`; an episode that is over begins anew, as JaxMARL's do."""

    name = "coupled_cart_pole"
    agent_classes: dict[str, list[str]]

    def __init__(self, n_agents: int, stiffness: float = 10.0, max_steps: int = 200) -> None:
        super().__init__(num_agents=n_agents)
        self.stiffness, self.max_steps = stiffness, max_steps
        self.observation_spaces = {agent: Box(-jnp.inf, jnp.inf, (4,)) for agent in self.agents}
        self.action_spaces = {agent: Discrete(2) for agent in self.agents}
        rest = jnp.arange(n_agents, dtype=jnp.float32)
        self.lowest, self.highest = -cartpole.REST_DISTANCE - rest, n_agents * cartpole.REST_DISTANCE - rest

    def reset(self, key):
        scale = jnp.array([2.0, 1.0, 1.0, 1.0])[:, None]
        carts = scale * jax.random.uniform(key, (4, self.num_agents), minval=-0.05, maxval=0.05)
        state = State(carts, jnp.zeros((), int))
        return self.get_obs(state), state

    def get_obs(self, state):
        return {agent: state.carts[:, i] for i, agent in enumerate(self.agents)}

    def advance(self, carts, actions):
        """``[4, N]`` after one step with ``actions`` ``[N]``, and ``[N]`` whose poles were up before it."""
        x, velocity, angle, spin = carts
        up = (x >= self.lowest) & (x <= self.highest) & (jnp.abs(angle) <= cartpole.ANGLE_LIMIT)
        pull = jnp.pad(x, 1)[:-2] + jnp.pad(x, 1)[2:] - 2 * x
        force = (2 * actions - 1) * cartpole.FORCE + self.stiffness * pull
        sine, cosine = jnp.sin(angle), jnp.cos(angle)
        push = (force + cartpole.POLE_MOMENT * spin**2 * sine) / cartpole.TOTAL_MASS
        inertia = cartpole.POLE_HALF_LENGTH * (4 / 3 - cartpole.POLE_MASS * cosine**2 / cartpole.TOTAL_MASS)
        swing = (cartpole.GRAVITY * sine - cosine * push) / inertia
        acceleration = push - cartpole.POLE_MOMENT / cartpole.TOTAL_MASS * swing * cosine
        return carts + cartpole.DT * up * jnp.stack([velocity, acceleration, spin, swing]), up

    def step_env(self, key, state, actions):
        carts, up = self.advance(state.carts, jnp.stack([actions[agent] for agent in self.agents]))
        state = State(carts, state.step + 1)
        over = ~up.any() | (state.step >= self.max_steps)
        rewards = {agent: up[i].astype(jnp.float32) for i, agent in enumerate(self.agents)}
        return self.get_obs(state), state, rewards, dict.fromkeys([*self.agents, "__all__"], over), {}


def check_same(n_agents: int, steps: int = 150) -> None:
    """Assert that both environments move alike from one state, with the same random actions."""
    ours, theirs = CartPole(n_agents, max_steps=10 * steps), CoupledCartPole(n_agents)
    carts = np.moveaxis(ours.reset()[0].numpy(), -1, 0)
    draw = np.random.default_rng(0)
    for _ in range(steps):
        actions = draw.integers(2, size=n_agents)
        carts, up = theirs.advance(jnp.asarray(carts), jnp.asarray(actions))
        _, rewards, _, _ = ours.step(torch.from_numpy(actions)[None])
        assert np.array_equal(rewards[0].numpy(), np.asarray(up, dtype=np.float32))
        moved = torch.stack([getattr(ours, name)[0] for name in ours.state_names]).numpy()
        assert np.allclose(moved, carts, atol=1e-4)
        carts = moved
