"""Voltages along a feeder, of several policies on the same day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from lomaq.envs import BatchedEnv, PolicyFn
from lomaq.envs.voltage import Feeder, Voltage
from lomaq.envs.voltage.env import BAND
from lomaq.plots.curves import looks


@torch.no_grad()
def voltage_profiles(env: Voltage, policies: Mapping[str, PolicyFn], seed: int = 0) -> dict[str, np.ndarray]:
    """Voltages ``[T, buses]`` of one day of each policy, the same day for all.

    Example:
        >>> env = Voltage(feeder="generated", n_buses=4, max_steps=2)
        >>> {name: day.shape for name, day in voltage_profiles(env, env.baselines()).items()}["no_control"]
        (2, 3)
    """
    found = {}
    for name, policy in policies.items():
        day = env.fresh(1, seed)
        steps = day.episode(partial(_act, policy), observed=False)
        found[name] = np.stack([day.voltage[0].cpu().numpy() for _ in steps])
    return found


def _act(policy: PolicyFn, env: BatchedEnv, observation: Tensor) -> Tensor:
    return policy(env)


def draw_profiles(path: Path, feeder: Feeder, days: Mapping[str, np.ndarray], title: str = "") -> None:
    """Draw the voltages of several policies at the two :func:`hardest` moments of the first one's day.

    Args:
        path: The picture.
        feeder: Its buses are placed by the impedance of the way from the substation.
        days: For each policy its voltages, see :func:`voltage_profiles`.
        title: Above it.
    """
    figure = Figure(figsize=(11, 4.4), layout="constrained", dpi=120)
    moments = hardest(next(iter(days.values())))
    for axes, step in zip(figure.subplots(1, 2, sharey=True), moments, strict=True):
        draw_moment(axes, feeder, {name: day[step] for name, day in days.items()}, step)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=10, frameon=False)
    figure.suptitle(title, fontsize=12)
    figure.savefig(path)


def hardest(day: np.ndarray) -> list[int]:
    """Steps of the highest and of the lowest voltage of a day ``[T, buses]``."""
    return [int(day.max(axis=1).argmax()), int(day.min(axis=1).argmin())]


def draw_moment(axes: Axes, feeder: Feeder, voltages: Mapping[str, Sequence[float]], step: int) -> None:
    """Draw the voltages ``[buses]`` of several policies at one step along the feeder, and the band."""
    far = np.append(np.abs(feeder.impedance) @ feeder.paths.T, 0.0)  # the substation is the last, at parent -1
    pairs = np.stack([feeder.parent, np.arange(feeder.n_buses)], axis=1)
    for (name, voltage), (_, colour) in zip(voltages.items(), looks(), strict=False):
        lines = np.stack([far[pairs], np.append(voltage, 1.0)[pairs]], axis=2)
        axes.add_collection(LineCollection(list(lines), colors=colour, linewidths=1.8, label=name))
    axes.axhspan(1 - BAND, 1 + BAND, color="#e8f1e8", zorder=0)
    axes.set(xlim=(0, far.max() * 1.02), xlabel="impedance from the substation (per unit of 1 MVA)")
    axes.set_ylabel("voltage (per unit)")
    axes.set_title(f"{step // 4:02d}:{15 * (step % 4):02d}", fontsize=11)
    axes.autoscale(axis="y")
