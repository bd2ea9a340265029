"""Moving pictures of environments: what the first parallel environment looks like in each frame of an episode.

:func:`snapshot` and :func:`renderer` dispatch on the environment's type. A picture of an environment from elsewhere is
registered by ``@renderer.register(MyEnv)`` above its :class:`Renderer`, and ``@snapshot.register(MyEnv)`` above the
function that reads the state.
"""

from lomaq.plots.renderers.base import Frame, Renderer
from lomaq.plots.renderers.cartpole import CartPoleRenderer
from lomaq.plots.renderers.graph import GraphRenderer, renderer, snapshot
from lomaq.plots.renderers.navigation import NavigationRenderer
from lomaq.plots.renderers.sumo import SumoRenderer
from lomaq.plots.renderers.sysadmin import SysAdminRenderer
from lomaq.plots.renderers.voltage import VoltageRenderer

__all__ = [
    "CartPoleRenderer",
    "Frame",
    "GraphRenderer",
    "NavigationRenderer",
    "Renderer",
    "SumoRenderer",
    "SysAdminRenderer",
    "VoltageRenderer",
    "renderer",
    "snapshot",
]
