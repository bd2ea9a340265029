"""SysAdmin: which machines work, which have failed, and which were just rebooted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lomaq.envs import SysAdmin
from lomaq.plots.renderers.base import DARK, LEGEND_STRIP, Frame
from lomaq.plots.renderers.graph import NodesRenderer, renderer, snapshot

#: Colour of a machine that works, of one that has failed, and of the edge of one that its agent just rebooted.
WORKS, FAILED, REBOOTED = "#8fd3a5", "#e88a84", "#1f5fbf"


@snapshot.register(SysAdmin)
def _snapshot(env: SysAdmin) -> dict[str, np.ndarray]:
    """Which machines work, ``[N]`` bool."""
    return {"up": env.up[0].cpu().numpy().copy()}


@renderer.register(SysAdmin)
class SysAdminRenderer(NodesRenderer):
    """The machines on their graph; an R in a thick blue edge was rebooted in the last step."""

    def __init__(self, env: SysAdmin, frames: Sequence[Frame] = (), figure: Figure | None = None) -> None:
        super().__init__(env, figure, LEGEND_STRIP)
        works, failed = ({"color": colour, "markeredgecolor": DARK} for colour in (WORKS, FAILED))
        rebooted = {"color": "none", "markeredgecolor": REBOOTED, "markeredgewidth": 3}
        self.legend({"works (reward 1)": works, "failed (reward 0)": failed, "just rebooted (pays the cost)": rebooted})

    def _move(self, frame: Frame) -> str:
        up = frame.state["up"]
        acted = np.zeros_like(up) if frame.actions is None else frame.actions == 1
        self.nodes.set(
            facecolors=np.where(up, WORKS, FAILED),
            edgecolors=np.where(acted, REBOOTED, DARK),
            linewidths=np.where(acted, 3.5, 1.2),
        )
        for text, rebooted in zip(self.texts, acted, strict=False):  # artists, of at most some dozens
            text.set_text("R" if rebooted else "")
        return f"{up.sum():,} of {len(up):,} work"
