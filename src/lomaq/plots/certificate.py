"""The picture of a certificate."""

from __future__ import annotations

import textwrap
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lomaq.analysis.certificate.critic import CriticCertificate
from lomaq.analysis.certificate.gradient import DETECTED
from lomaq.analysis.certificate.mixer import MixerCertificate
from lomaq.analysis.certificate.report import VERDICTS, Certificate
from lomaq.analysis.certificate.truncation import Truncation
from lomaq.runs.files import free_path

COLOURS = {True: "tab:green", False: "tab:red", None: "black"}


def draw_certificate(path: str | Path, certificate: Certificate, title: str) -> Path:
    """Draw slopes of a mixer or shares of a gradient against distance, truncation error against hops, and the verdicts.

    Args:
        path: A ``.png`` file, or one with another ending; a name that is taken gets a number.
        certificate: What to draw.
        title: What stands above.

    Returns:
        The file that was written.
    """
    figure = Figure(figsize=(9, 8), layout="constrained", dpi=120)
    figure.suptitle(title, fontsize=15)
    axes = figure.subplot_mosaic([["by hops", "truncation"], ["verdicts", "verdicts"]], height_ratios=[1.15, 1.2])
    _draw_by_hops(certificate, axes["by hops"])
    _draw_truncation(axes["truncation"], certificate.truncation, certificate.symbol)
    _write_verdicts(axes["verdicts"], certificate)
    figure.savefig(path := free_path(path))
    return path


@singledispatch
def _draw_by_hops(certificate: Certificate, axes: Axes) -> None:
    """The panel against distance that a kind of certificate has of its own."""
    raise NotImplementedError(type(certificate).__name__)


@_draw_by_hops.register
def _draw_slopes(certificate: MixerCertificate, axes: Axes) -> None:
    """Mean and span of the slopes at each hop distance; on a log axis where all are positive and span decades.

    They are red where the mixer falls, also if only its values show it.
    """
    slopes, monotone = certificate.slopes, certificate.monotone
    smallest, mean, largest = map(np.array, (slopes.smallest_by_hop, slopes.mean_by_hop, slopes.largest_by_hop))
    hops, colour = np.arange(len(mean)), COLOURS[monotone]
    axes.set_ymargin(0.3)  # room for the legend
    axes.vlines(hops, smallest, largest, color=colour, linewidth=6, alpha=0.35, label="smallest to largest")
    axes.plot(hops, mean, "o", color=colour, markersize=8, label="mean")
    axes.set_xlim(-0.5, len(hops) - 0.5)
    if slopes.smallest > 0 and slopes.smallest * 100 < np.nanmax(largest):
        axes.set_yscale("log")
    else:
        axes.axhline(0, color="black", linewidth=1)
    axes.set_title("Slopes of the mixer", fontsize=13)
    axes.set_ylabel("∂F_J / ∂U_i", fontsize=12)
    _finish(axes, "hops from block J to agent i")


@_draw_by_hops.register
def _draw_gradient(certificate: CriticCertificate, axes: Axes) -> None:
    """Share of the gradient at each hop distance with two standard errors; hollow where that interval holds 0."""
    gradient = certificate.gradient
    axes.set_title("Policy gradient by distance", fontsize=13)
    if not gradient.detected:
        text = f"no gradient was detected in {gradient.n_episodes:,} episodes"
        axes.text(0.5, 0.5, textwrap.fill(text, 28), ha="center", va="center", fontsize=12)
        axes.set_axis_off()
        return
    share, error = 100 * np.array(gradient.share), 100 * np.array(gradient.share_error)
    hops, found = np.arange(len(share)), np.abs(share) > DETECTED * error
    axes.set_ymargin(0.3)  # room for the legend
    axes.errorbar(hops, share, DETECTED * error, fmt="none", color="tab:blue", linewidth=2, capsize=4)
    axes.plot(hops[found], share[found], "o", color="tab:blue", markersize=8, label="share ± 2 standard errors")
    if not found.all():
        look: dict[str, Any] = {"color": "tab:blue", "markerfacecolor": "white", "markersize": 8}
        axes.plot(hops[~found], share[~found], "o", label="undetected", **look)
    axes.axhline(0, color="black", linewidth=1)
    if gradient.beyond is not None:
        axes.axvline(gradient.kappa + 0.5, color="tab:orange", linewidth=1.5, linestyle="--", label="κ")
    axes.set_xlim(-0.5, len(hops) - 0.5)
    axes.set_ylabel("share of the gradient, %", fontsize=12)
    _finish(axes, "hops from agent i to block J")


def _draw_truncation(axes: Axes, truncation: Truncation, symbol: str) -> None:
    """Error against k on a log axis; errors that are zero or rounding are hollow on its lower edge."""
    axes.set_title("Value lost beyond k hops", fontsize=13)
    if not truncation.mean_error:
        axes.text(0.5, 0.5, textwrap.fill(f"{truncation.reason}", 28), ha="center", va="center", fontsize=12)
        axes.set_axis_off()
        return
    mean, largest = np.array(truncation.mean_error), np.array(truncation.max_error)
    k = np.arange(len(mean))
    lost = mean > truncation.rounding
    bottom = min([truncation.tolerance, *mean[lost]]) / 5
    axes.set_yscale("log")
    axes.set_ylim(bottom, 3 * max([truncation.tolerance, *largest[np.isfinite(largest)]]))
    axes.plot(k[lost], largest[lost], "^", color="tab:gray", markersize=6, label="largest")
    axes.plot(k[lost], mean[lost], "o", color="tab:blue", markersize=8, label="mean")
    if not lost.all():
        zeros = np.full((~lost).sum(), bottom)
        axes.plot(k[~lost], zeros, "o", color="tab:blue", markerfacecolor="white", clip_on=False, label="zero")
    if truncation.rho is not None and truncation.c is not None:
        line = truncation.c * truncation.rho ** (k[lost] + 1.0)
        label = f"fit {truncation.c:.2g} · {truncation.rho:.2g}^(k+1)"
        axes.plot(k[lost], line, "--", color="tab:blue", linewidth=1.5, label=label)
    axes.axhline(truncation.tolerance, color="tab:orange", linewidth=1.5, label=f"tolerance {truncation.tolerance:g}")
    axes.set_xlim(-0.5, len(k) - 0.5)
    axes.set_ylabel(f"error / std of {symbol}", fontsize=12)
    _finish(axes, "hops k")


def _finish(axes: Axes, label: str) -> None:
    axes.set_xlabel(label, fontsize=12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.tick_params(labelsize=11)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=10, framealpha=0.8)


def _write_verdicts(axes: Axes, certificate: Certificate) -> None:
    axes.set_axis_off()
    sizes = f"{certificate.n_agents:,} agents, {certificate.n_blocks:,} blocks, κ = {certificate.kappa}"
    total = "certificate", certificate.passed, f"{certificate.asked}; {sizes}"
    wrapped = [(name, passed, textwrap.wrap(text, 88)) for name, passed, text in [total, *certificate.checks()]]
    height = 1 / sum(len(text) + 0.35 for _, _, text in wrapped)
    top = 1.0
    for name, passed, text in wrapped:
        for left, words in ((0, name), (0.12, VERDICTS[passed])):
            axes.text(left, top, words, color=COLOURS[passed], weight="bold", va="top", fontsize=10)
        axes.text(0.19, top, "\n".join(text), va="top", fontsize=10)
        top -= height * (len(text) + 0.35)
