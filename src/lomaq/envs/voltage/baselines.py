"""What learned voltage control is measured against: no control, Volt/VAr curves, and a central optimiser."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lomaq.envs.base import PolicyFn

if TYPE_CHECKING:
    from lomaq.envs.voltage.env import Voltage

#: Days of the references and of the tuning, and seeds of these days.
DAYS, TUNING_DAYS, SEED, TUNING_SEED = 20, 16, 3_000_019, 3_000_017
#: Deviation from 1 up to which a Volt/VAr curve does nothing, and from which on it does all it can: category B of IEEE
#: 1547-2018; and those that are tried, with the share of the way to the curve that an inverter goes in a step.
IEEE_1547 = (0.02, 0.08)
STARTS, ENDS, RESPONSES = (
    (0.0, 0.01, 0.02, 0.03),
    (0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.16, 0.2),
    (1.0, 0.5),
)
#: Largest feeder for whose references curves are tuned and the central optimiser is run.
MOST_OPTIMISED = 100


def no_control(env: Voltage) -> Tensor:
    """Actions ``[B, N]`` of no reactive power."""
    return env.nearest(torch.zeros_like(env.reactive))


def droop(start: float | Tensor, end: float | Tensor, response: float | Tensor = 1.0) -> PolicyFn:
    """A Volt/VAr curve: no reactive power within ``start`` of 1, then linear up to all of it at ``end``.

    Each inverter reads its own voltage of the last step and goes the share ``response`` of the way from its present
    reactive power to the curve's; it feeds the nearest of the environment's steps. Tensors are ``[B, 1]``.
    """

    def policy(env: Voltage) -> Tensor:
        deviation = env.voltage.index_select(1, env.bus).float() - 1
        curve = -deviation.sign() * ((deviation.abs() - start) / (end - start)).clamp(0, 1)
        return env.nearest(env.reactive + response * (curve - env.reactive))

    return policy


def policies(env: Voltage) -> dict[str, PolicyFn]:
    """The baseline policies by name; those that are tuned are when they are first asked."""
    return {
        "no_control": no_control,
        "droop_ieee1547": droop(*IEEE_1547),
        "droop": lambda states: droop(*env.tuned["droop"])(states),
        "droop_damped": lambda states: droop(*env.tuned["droop_damped"])(states),
    }


@torch.no_grad()
def tune(env: Voltage) -> dict[str, tuple[float, ...]]:
    """Start, end and response of the curves with the largest mean return, on days of their own.

    ``droop`` goes all the way at once, ``droop_damped`` any share of :data:`RESPONSES`.
    """
    tried = torch.tensor([each for each in product(STARTS, ENDS, RESPONSES) if each[1] > each[0]], device=env.device)
    fresh = env.fresh(TUNING_DAYS * len(tried), TUNING_SEED)
    curves = droop(*tried.repeat_interleave(TUNING_DAYS, dim=0).split(1, dim=1))

    def policy(states: Voltage) -> Tensor:
        states.weather = states.weather[:TUNING_DAYS].repeat(len(tried), 1)  # the same days for all
        return curves(states)

    returns = _returns(fresh, policy).view(len(tried), TUNING_DAYS).mean(dim=1)
    at_once = torch.where(tried[:, 2] == 1, returns, -torch.inf)
    chosen = {"droop": at_once.argmax(), "droop_damped": returns.argmax()}
    return {name: tuple(round(float(x), 6) for x in tried[best]) for name, best in chosen.items()}


def _returns(env: Voltage, policy: PolicyFn) -> Tensor:
    total = torch.zeros(env.n_envs, dtype=torch.float64, device=env.device)
    for step in env.episode(lambda states, _: policy(states), observed=False):
        total += step.rewards.sum(dim=1)
    return total


@torch.no_grad()
def play(env: Voltage, policy: PolicyFn, days: int = DAYS, seed: int = SEED) -> dict[str, Tensor]:
    """``return`` and the metrics of fresh episodes, ``[days]`` float64 each; ``env`` is left as it is."""
    fresh = env.fresh(days, seed)
    return {"return": _returns(fresh, policy), **fresh.episode_metrics()}


@torch.no_grad()
def play_optimum(env: Voltage, days: int, seed: int) -> dict[str, Tensor]:
    """:func:`play` of the central optimiser, whose reactive powers are no steps."""
    fresh, again = env.fresh(days, seed), env.fresh(days, seed)
    fresh.reset(), again.reset()
    seen = list[tuple[Tensor, Tensor]]()
    for _ in range(env.max_steps):  # the weather goes its own way, so that all steps are optimised at once
        seen.append(fresh.forecast())
        fresh.step(no_control(fresh))
    load, sun = (torch.cat(parts) for parts in zip(*seen, strict=True))
    best = optimum(env, load, sun).unflatten(0, (env.max_steps, days))
    total = torch.zeros(days, dtype=torch.float64, device=env.device)
    for reactive in best:
        total += again.feed(reactive).sum(dim=1)
        again.time += 1
    return {"return": total, **again.episode_metrics()}


def measured(env: Voltage, days: int = DAYS, seed: int = SEED) -> dict[str, dict[str, Tensor]]:
    """What :func:`play` gives of each baseline policy and of the central optimum, by name, on the same days.

    The central optimum is left out on feeders of more than 100 buses.
    """
    found = {name: play(env, policy, days, seed) for name, policy in policies(env).items()}
    if env.feeder.n_buses <= MOST_OPTIMISED:
        found["central optimum"] = play_optimum(env, days, seed)
    return found


def optimum(env: Voltage, load: Tensor, sun: Tensor, iterations: int = 30, rate: float = 0.2) -> Tensor:
    """Reactive powers ``[B, N]``, any in [-1, 1], whose rewards on the exact flow add up to the most: projected Adam.

    It knows all loads and the sun. A step's rewards depend on this step's reactive powers alone, so nothing is lost by
    looking at one step at a time: an upper bound, as far as the search succeeds.

    Args:
        env: The feeder.
        load: ``[B, buses]``.
        sun: ``[B, buses]``.
        iterations: Steps of the search.
        rate: Its step size, which falls linearly to 0.
    """
    best = torch.zeros(len(load), env.n_agents, device=env.device)
    least = torch.full((len(load),), torch.inf, dtype=torch.float64, device=env.device)
    with torch.enable_grad():
        reactive = best.clone().requires_grad_()
        adam = torch.optim.Adam([reactive], lr=rate)
        for k in range(iterations):
            adam.param_groups[0]["lr"] = rate * (1 - k / iterations)
            price = env.price(env.solve(load, sun, reactive)[0], reactive)  # [B]
            better = price.detach() < least
            least = torch.where(better, price.detach(), least)
            best = torch.where(better[:, None], reactive.detach(), best)
            adam.zero_grad()
            price.sum().backward()
            adam.step()
            with torch.no_grad():
                reactive.clamp_(-1, 1)
    return best
