"""Who depends on whom: what a mixer has learned, as one weight an edge."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lomaq.analysis.colouring import Colouring, MixerFunction
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition


def influence(
    mixer: MixerFunction,
    graph: AgentGraph,
    partition: Partition,
    kappa: int,
    utilities: Tensor,
    observations: Tensor | None = None,
) -> np.ndarray:
    """How much the two ends of each edge matter to each other's block.

    The weight of edge {a, b} is the mean of |∂F_J/∂U_i| over states and over both directions: the block J of one end
    and the agent i at the other. It is what ``edge_weights`` of a ``GraphView`` takes.

    Args:
        mixer: The mixer; nothing beyond kappa hops may matter to it (:func:`lomaq.analysis.locality.locality`).
        graph: The N agents.
        partition: Its blocks.
        kappa: Hops that a block sees, at least 0.
        utilities: ``[M, N]`` float, of the actions chosen at M visited states.
        observations: ``[M, N, O]`` float, for mixers with local state.

    Returns:
        ``[E]`` float64, in the order of :attr:`lomaq.AgentGraph.pairs`.

    Raises:
        InputError: If a shape is impossible, or the mixer's values cannot be differentiated.

    Example:
        >>> line = AgentGraph.line(3)
        >>> def mixer(u, observations):  # every agent also hears the one on its left, at half the strength
        ...     return u + 0.5 * torch.nn.functional.pad(u, (1, 0))[:, :-1]
        >>> influence(mixer, line, Partition.singletons(3), 1, torch.zeros(2, 3)).tolist()
        [0.25, 0.25]
    """
    colouring = Colouring(graph, partition, kappa)
    colouring.check(utilities, observations)
    n = graph.n_agents
    with torch.enable_grad():
        inputs = utilities.detach().clone().requires_grad_()
        values = mixer(inputs, observations)
        if not values.requires_grad:
            raise InputError("mixer", "block values that can be differentiated by the utilities", "a constant")
        keys, sizes = [], []
        for colour in colouring.colours:  # blocks of a colour share no agent, so one pass differentiates them all
            total = values[:, colour.blocks].sum()
            (slope,) = torch.autograd.grad(total, inputs, retain_graph=True, materialize_grads=True)
            keys.append(colour.blocks[colour.owner] * n + colour.agents)
            sizes.append(slope[:, colour.agents].double().abs().mean(dim=0))
    key, order = torch.cat(keys).sort()
    size = torch.cat(sizes)[order].numpy()
    pairs, block = graph.pairs.numpy(), partition.block_of.numpy()
    wanted = block[pairs] * n + pairs[:, ::-1]  # [E, 2], the block of one end and the agent at the other
    place = np.minimum(np.searchsorted(key.numpy(), wanted), len(key) - 1)
    return np.where(key.numpy()[place] == wanted, size[place], 0.0).mean(axis=1)
