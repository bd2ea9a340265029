"""Regret of Multi-OFUL under several partitions of one problem, compared with Theorem 1."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from scipy import stats

from lomaq.bandits.bound import Constants
from lomaq.bandits.linear import Floats, LinearBandit, Noise, block_noise, draw_parameters, noise_scales
from lomaq.bandits.oful import MultiOFUL, check_memory
from lomaq.bandits.play import UniformArms, play
from lomaq.errors import InputError, check_float, check_int
from lomaq.graphs import AgentGraph, Partition
from lomaq.plots.regret import draw_regret
from lomaq.runs.files import RunFiles

#: Rounds at which the regret is noted, evenly spaced on a log scale.
CHECKPOINTS = 200
#: The tail in which slopes are measured: the last of these decades, T/10 … T.
DECADES = 3


def run_bandits(
    folder: Path,
    console: Console,
    *,
    n: int = 6,
    K: int = 3,
    d: int = 5,
    T: int = 20_000,
    partitions: Sequence[str | list[list[int]]] = ("singletons", "pairs", "full"),
    repetitions: int = 20,
    seed: int = 0,
    noise: Noise = "gaussian",
    noise_scale: float | list[float] = 0.1,
    alpha: float = 1.0,
    delta: float = 0.05,
    regularisation: float = 1.0,
    smallest_gap: float | None = None,
) -> dict[str, Any]:
    """Play one problem under every partition and write ``bandit.json`` and ``bandit.png``.

    Contexts are uniform on the unit sphere and S_θ = 1/n, so E[r_J] lies in [-1, 1] for every block of every partition.

    Args:
        folder: Where the two files go; made if missing.
        console: Where progress is shown.
        n: Agents, at least 1; their graph, which ``pairs`` and ``communities`` need, is a line.
        K: Arms of each agent, at least 2.
        d: Size of the context, at least 1.
        T: Rounds, at least 100.
        partitions: Those to compare, such as singletons, pairs, full or lists of blocks, each once.
        repetitions: Independent repetitions R, at least 2.
        seed: Of everything random, at least 0.
        noise: ``gaussian`` or ``bounded``, see :class:`LinearBandit`.
        noise_scale: R_i of every agent, or a list of n.
        alpha: α of Algorithm 1, a factor on the confidence width, at least 0. The bound is that of α = 1.
        delta: δ, inside (0, 1); the confidence is 1 - δ.
        regularisation: λ of the ridge regression, see :class:`Constants`.
        smallest_gap: Smallest scale of an agent's parameters over the largest, see :func:`draw_parameters`; None is
            1/√T, the gap that T rounds just do not resolve.

    Returns:
        The content of ``bandit.json``; the same arguments give the same content, except for ``seconds``.

    Raises:
        InputError: If an argument is out of its range, a partition is too large for memory, or the files exist.
    """
    settings = {name: value for name, value in locals().items() if name not in ("folder", "console")}
    check_int("T", T, 100)
    check_int("repetitions", repetitions, 2)
    check_float("alpha", alpha, 0)
    gap = 1 / math.sqrt(T) if smallest_gap is None else check_float("smallest_gap", smallest_gap, 0, 1, above=True)
    scale = noise_scales(noise_scale, check_int("n", n, 1))
    check_int("K", K, 2)
    constants = {}
    for label, partition in _partitions(partitions, AgentGraph.line(n)).items():
        noise_bound = float(block_noise(partition, scale).max())
        constants[label] = Constants(partition, K, d, noise_bound, 1 / n, 1.0, delta, regularisation)
        check_memory(constants[label], repetitions)
    for name in ("bandit.json", "bandit.png"):
        if (folder / name).exists():
            raise InputError("run_dir", f"one without a {name}", folder, "choose another")
    parameters = draw_parameters(repetitions, n, K, d, bound=1 / n, smallest_gap=gap, seed=seed)
    problem = partial(LinearBandit, parameters, noise_scale=noise_scale, noise=noise, seed=seed)
    rounds = np.unique(np.geomspace(1, T, CHECKPOINTS).round().astype(int)).tolist()
    result: dict[str, Any] = {"settings": settings, "smallest_gap": gap, "rounds": rounds, "tail": [T / 10, T]}
    with Progress(console=console) as progress:
        task = progress.add_task("uniform arms", total=T * (len(constants) + 1))
        advance = partial(progress.advance, task)
        uniform = play(problem(Partition.singletons(n)), UniformArms(n, K, seed), rounds, advance)
        result["uniform_arms"] = _curve(rounds, uniform)
        result["partitions"] = {}
        for label, one in constants.items():
            progress.update(task, description=label)
            begin = time.perf_counter()
            regret = play(problem(one.partition), MultiOFUL(one, repetitions, alpha), rounds, advance)
            seconds = round(time.perf_counter() - begin, 2)
            result["partitions"][label] = {**_report(one, rounds, regret), "seconds": seconds}
    result["growth_in_K_P"] = _growth(result["partitions"])
    draw_regret(folder / "bandit.png", result)
    RunFiles(folder).write_checked("bandit.json", result)
    return result


#: What ``lomaq bandit`` runs unless told otherwise.
DEFAULTS: dict[str, Any] = {
    name: setting.default
    for name, setting in inspect.signature(run_bandits).parameters.items()
    if setting.default is not setting.empty
}


def _partitions(specs: object, graph: AgentGraph) -> dict[str, Partition]:
    if not isinstance(specs, (list, tuple)) or not specs:
        raise InputError("partitions", "a list of at least one partition", repr(specs))
    labels = [str(spec) for spec in specs]
    if len(set(labels)) < len(labels):
        raise InputError("partitions", "each partition once", ", ".join(labels))
    return {label: Partition.from_spec(spec, graph) for label, spec in zip(labels, specs, strict=True)}


def _curve(rounds: list[int], regret: Floats) -> dict[str, Any]:
    """Mean over repetitions, its 95 % interval (Student's t), all final regrets, slopes of the mean."""
    mean = regret.mean(axis=1)
    half = stats.t.ppf(0.975, regret.shape[1] - 1) * regret.std(axis=1, ddof=1) / math.sqrt(regret.shape[1])
    return {
        "regret_mean": mean.tolist(),
        "regret_low": (mean - half).tolist(),
        "regret_high": (mean + half).tolist(),
        "final_regret": regret[-1].tolist(),
        "slope_in_tail": _slope(rounds, mean, 0),
        "slope_by_decade_from_the_last": [_slope(rounds, mean, decade) for decade in range(DECADES)],
    }


def _report(constants: Constants, rounds: list[int], regret: Floats) -> dict[str, Any]:
    printed, corrected = constants.printed_bound(np.array(rounds)), constants.corrected_bound(np.array(rounds))
    above = (regret > corrected[:, None]).any(axis=0)  # [R]; a bound that is NaN is not exceeded
    return {
        "blocks": [list(block) for block in constants.partition.blocks],
        "K_P": constants.k_p,
        "R_max": constants.noise_bound,
        **_curve(rounds, regret),
        "bound_printed": [None if math.isnan(value) else value for value in printed.tolist()],
        "bound_corrected": [None if math.isnan(value) else value for value in corrected.tolist()],
        "bound_slope_in_tail": _slope(rounds, printed, 0),
        "repetitions_above_corrected_bound": int(above.sum()),
    }


def _slope(rounds: list[int], values: Floats, decade: int) -> float | None:
    """Least-squares slope of log values on log rounds within T/10^(decade+1) … T/10^decade; None where undefined."""
    at, high = np.array(rounds), rounds[-1] / 10**decade
    inside = (at >= high / 10) & (at <= high)
    if inside.sum() < 2 or not (values[inside] > 0).all():
        return None
    return float(np.polyfit(np.log(at[inside]), np.log(values[inside]), 1)[0])


def _growth(partitions: dict[str, Any]) -> dict[str, Any]:
    """Final regret against K_P: the log-log slope, and each partition's ratio to the one of the smallest K_P."""
    final = {label: float(np.mean(part["final_regret"])) for label, part in partitions.items()}
    least = min(partitions, key=lambda label: partitions[label]["K_P"])
    size, regret = np.array([part["K_P"] for part in partitions.values()]), np.array(list(final.values()))
    measurable = np.ptp(size) > 0 and (regret > 0).all()
    bound = partitions[least]["bound_printed"][-1]
    ratios = {
        label: {
            "measured": final[label] / final[least],
            "sqrt_K_P": math.sqrt(part["K_P"] / partitions[least]["K_P"]),
            "printed_bound": part["bound_printed"][-1] / bound if bound else None,
        }
        for label, part in partitions.items()
        if label != least and measurable
    }
    slope = float(np.polyfit(np.log(size), np.log(regret), 1)[0]) if measurable else None
    return {"slope": slope, "ratios_to": least, "ratios": ratios}
