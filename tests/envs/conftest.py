"""Carts and agents for several tests: put into a state by hand, read back, and moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lomaq.envs.cartpole import CartPole
from lomaq.envs.navigation import Navigation

# -------------------------------------------------------------------- cart-pole

CART_FEATURES = ("offset", "velocity", "angle", "spin")


def _put_carts(env: CartPole, time: int | None = None, **values: Any) -> None:
    state = env.state_dict()
    for name, value in values.items():
        state[name] = torch.as_tensor(value, dtype=torch.float32).expand(state[name].shape).clone()
    if time is not None:
        state["time"] = torch.full_like(state["time"], time)
    env.load_state_dict(state)


def _carts_of(env: CartPole) -> np.ndarray:
    return np.stack([getattr(env, name).numpy() for name in CART_FEATURES], axis=1)  # [B, 4, n]


def _balancing_pushes(env: CartPole) -> Tensor:
    return (env.angle + 0.3 * env.spin + 0.3 * env.offset + 0.1 * env.velocity > 0).long()


def _random_pushes(rng: np.random.Generator, env: CartPole) -> Tensor:
    return torch.from_numpy(rng.integers(0, 2, size=(env.n_envs, env.n_agents)))


@pytest.fixture(scope="session")
def cart_features() -> tuple[str, ...]:
    """The names of the four numbers of a cart, in the order of an observation."""
    return CART_FEATURES


@pytest.fixture(scope="session")
def put_carts() -> Callable[..., None]:
    """Set parts of the state by hand: ``put_carts(env, time=198, offset=0.0, angle=[[0.1, 0.2]])``."""
    return _put_carts


@pytest.fixture(scope="session")
def carts_of() -> Callable[[CartPole], np.ndarray]:
    """The state as [B, 4, n], in the order of ``cart_features``."""
    return _carts_of


@pytest.fixture(scope="session")
def balancing_pushes() -> Callable[[CartPole], Tensor]:
    """Actions that push towards where the pole leans; they keep every pole up."""
    return _balancing_pushes


@pytest.fixture(scope="session")
def random_pushes() -> Callable[[np.random.Generator, CartPole], Tensor]:
    """Either action for every cart, [B, n]: ``random_pushes(rng, env)``."""
    return _random_pushes


# ------------------------------------------------------------------- navigation


def _put_agents(env: Navigation, **values: Any) -> None:
    state = env.state_dict()
    for name, value in values.items():
        state[name] = torch.as_tensor(np.asarray(value), dtype=torch.float32).permute(1, 2, 0).clone()
    env.load_state_dict(state)


def _agents_of(env: Navigation) -> list[np.ndarray]:
    return [getattr(env, name).permute(2, 0, 1).numpy().copy() for name in ("position", "velocity", "landmark")]


def _slots_seen(env: Navigation) -> np.ndarray:
    position, _, landmark = _agents_of(env)
    k = env.n_slots
    seen = env.observe()[..., 4 : 4 + 2 * k].numpy().reshape(env.n_envs, env.n_agents, k, 2) + position[:, :, None]
    apart = np.linalg.norm(seen[:, :, :, None] - landmark[:, None, None], axis=-1)
    assert (apart.min(axis=-1) < 1e-5).all()
    return apart.argmin(axis=-1)


def _random_moves(rng: np.random.Generator, env: Navigation) -> Tensor:
    return torch.from_numpy(rng.integers(0, 5, size=(env.n_envs, env.n_agents)))


def _bases_on_a_line(n: int) -> list[tuple[float, float]]:
    return [(0.75 * i, 0.0) for i in range(n)]


def _bases_on_a_grid(side: int) -> list[tuple[float, float]]:
    return [(1.5 * (i % side), 1.5 * (i // side)) for i in range(side * side)]


@pytest.fixture(scope="session")
def put_agents() -> Callable[..., None]:
    """Set parts of the state by hand: ``position``, ``velocity`` and ``landmark`` as [B, n, 2]."""
    return _put_agents


@pytest.fixture(scope="session")
def agents_of() -> Callable[[Navigation], list[np.ndarray]]:
    """Position, velocity and landmark, each [B, n, 2]."""
    return _agents_of


@pytest.fixture(scope="session")
def slots_seen() -> Callable[[Navigation], np.ndarray]:
    """The landmark in each slot, [B, n, k], found by its place in the observation."""
    return _slots_seen


@pytest.fixture(scope="session")
def random_moves() -> Callable[[np.random.Generator, Navigation], Tensor]:
    """Any of the five actions for every agent, [B, n]: ``random_moves(rng, env)``."""
    return _random_moves


@pytest.fixture(scope="session")
def bases_on_a_line() -> Callable[[int], list[tuple[float, float]]]:
    """Where n agents have their bases on the line of the figures."""
    return _bases_on_a_line


@pytest.fixture(scope="session")
def bases_on_a_grid() -> Callable[[int], list[tuple[float, float]]]:
    """Where the agents of a square grid have their bases: ``bases_on_a_grid(3)`` for nine."""
    return _bases_on_a_grid
