"""What learned control is measured against: no control, droop rules, and a central optimiser."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from lomaq.envs.voltage.env import BAND, PENALTY, Voltage

#: Reactive power ``[B, N]`` in [-1, 1] for the present state.
Rule = Callable[[Voltage], Tensor]
#: Days of the tuning and of the yardsticks, and seeds of their days.
DAYS, TUNING_SEED, SEED = 100, 3_000_017, 3_000_019
#: Deviation from 1 up to which a droop rule does nothing, and from which on it does all it can.
IEEE_1547 = (0.02, 0.08)
_STARTS = (0.0, 0.005, 0.01, 0.02, 0.03)
_ENDS = (0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.12)


def droop(start: float, end: float) -> Rule:
    """The Volt/VAr curve of IEEE 1547-2018: nothing within ``start`` of 1, then linear up to all at ``end``.

    Each inverter reads its own voltage of the last step; what it feeds is one of the environment's steps.
    """

    def rule(env: Voltage) -> Tensor:
        deviation = env.voltage.index_select(1, env.bus).float() - 1
        strength = ((deviation.abs() - start) / (end - start)).clamp(0, 1)
        return env.round(-deviation.sign() * strength)

    return rule


def optimiser(iterations: int = 60, rate: float = 0.1) -> Rule:
    """The reactive powers, any in [-1, 1], whose rewards on the exact flow add up to the most: projected Adam.

    It knows all loads and the sun. A step's rewards depend on this step's reactive powers alone, so nothing is lost by
    looking at one step at a time: an upper bound, as far as the search succeeds.
    """

    def rule(env: Voltage) -> Tensor:
        load, sun = env.profiles.read(env.time)
        best, least = env.reactive.clone(), torch.full((env.n_envs,), torch.inf, dtype=torch.float64, device=env.device)
        with torch.enable_grad():
            reactive = env.reactive.clone().requires_grad_()
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

    return rule


@torch.no_grad()
def play(env: Voltage, rule: Rule, seed: int) -> dict[str, Tensor]:
    """One day in every parallel environment: ``return`` and the metrics of the episode, ``[B]`` float64 each."""
    env.generator.manual_seed(seed)
    env.reset()
    total = torch.zeros(env.n_envs, dtype=torch.float64, device=env.device)
    for _ in range(env.max_steps):
        total += env.apply(rule(env)).sum(dim=1)
        env.time += 1
    return {"return": total, **env.episode_metrics()}


def tuned_droop(env: Voltage) -> tuple[float, float]:
    """Start and end of the droop rule with the largest mean return, of a grid, on days of its own."""
    choices = [(start, end) for start, end in product(_STARTS, _ENDS) if end > start]
    return max(choices, key=lambda choice: float(play(env, droop(*choice), TUNING_SEED)["return"].mean()))


def yardsticks(env: Voltage) -> dict[str, dict[str, Tensor]]:
    """Returns and metrics of each, by name, on the same days: those of ``env``'s copies."""
    rules = {
        "no control": lambda env: torch.zeros_like(env.reactive),
        "droop, IEEE 1547": droop(*IEEE_1547),
        "droop, tuned": droop(*tuned_droop(env)),
        "central optimiser": optimiser(),
    }
    return {name: play(env, rule, SEED) for name, rule in rules.items()}
