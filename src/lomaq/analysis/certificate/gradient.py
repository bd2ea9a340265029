"""How much of a policy gradient comes from how far: the truncation of Qu et al. (2020), measured on played episodes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lomaq.graphs import AgentGraph, Partition, csr_matrix
from lomaq.objectives.base import Ascent

#: A share counts as detected where it is further from 0 than DETECTED standard errors, a gradient where its squared
#: norm is more than CLEAR of them above 0: the shares of a smaller one would be divided by noise.
DETECTED, CLEAR = 2.0, 3.0


@dataclass(frozen=True)
class Gradient:
    """The policy gradient g = g_0 + … + g_D by the hop distance of the blocks whose advantages it ascends.

    g_d is the mean over transitions and agents i of ∇ log π_i(a_i) Σ A_J over the blocks J at exactly d hops of i, by
    the parameters of the agents' networks. Its share is ⟨g_d, g⟩ / ⟨g, g⟩, its projection on g: of what a small step
    along g gains, the part that the blocks at d hops gain. Shares add up to 1; one may be negative or above 1. The
    cosine is that of the angle between g_0 + … + g_k, the gradient truncated at k hops, and g.

    The squared norm of a mean of samples is too large by their noise. All inner products are therefore means over pairs
    of different episodes, which are independent given the networks: U-statistics, without bias whatever the noise is.
    Their ratios and roots have a bias that shrinks with the number of episodes, so that a cosine may come out above 1.
    Standard errors are those of the jackknife over episodes, which errs on the side of too large ones for U-statistics
    (Efron and Stein, 1981). A constant may be taken off the advantages of each block if it is of other episodes: that
    changes no g_d, only the noise.

    Attributes:
        n_episodes: Episodes that were played.
        n_transitions: Their steps, together.
        kappa: Hops within which the agents ascend blocks.
        squared_norm: ⟨g, g⟩; may be negative by noise.
        squared_norm_error: Its standard error.
        detected: Whether ``squared_norm`` is more than three standard errors above 0; there are no shares where not.
        share: Share of each distance d = 0 … D.
        share_error: Their standard errors.
        within: Share of all distances up to k, for k = 0 … D; the last is 1.
        within_error: Their standard errors.
        cosine: For k = 0 … D; None where the gradient truncated at k was not detected.
        cosine_error: Their standard errors; None likewise.
        beyond: Share of the distances kappa + 1 … D together; None where there are none.
        beyond_error: Its standard error.
    """

    n_episodes: int
    n_transitions: int
    kappa: int
    squared_norm: float
    squared_norm_error: float
    detected: bool
    share: tuple[float, ...]
    share_error: tuple[float, ...]
    within: tuple[float, ...]
    within_error: tuple[float, ...]
    cosine: tuple[float | None, ...]
    cosine_error: tuple[float | None, ...]
    beyond: float | None
    beyond_error: float | None

    def line(self) -> str:
        """What was found, in words."""
        played = f"{self.n_episodes:,} episodes"
        if not self.detected:
            norm = f"squared norm {self.squared_norm:.2g} ± {self.squared_norm_error:.2g}"
            return f"not detected in {played}: {norm}; the policy may be near a stationary point, or take more episodes"
        farthest = len(self.within) - 1
        if farthest == 0:
            return f"all of it within k=0, the only distance that was looked at, in {played}"
        shown = [f"{_percent(self.within[k], self.within_error[k])} of it within k={k}" for k in range(farthest)][:8]
        far = f"{farthest} hop" + ("" if farthest == 1 else "s")
        text = f"{', '.join(shown)} (± standard error; of all within {far}, in {played})"
        if self.beyond is None or self.beyond_error is None:
            return f"{text}; none of it beyond κ={self.kappa}, where no block was looked at"
        text += f"; beyond κ={self.kappa}: {_percent(self.beyond, self.beyond_error)}"
        if abs(self.beyond) <= DETECTED * self.beyond_error:
            text += ", undetected"
        cosine, error = self.cosine[self.kappa], self.cosine_error[self.kappa]
        return text + ("" if cosine is None else f"; cosine within κ and all {cosine:.3f} ± {error:.2g}")


def _percent(share: float, error: float) -> str:
    digits = 1 if error < 0.01 else 0
    return f"{round(share, 2 + digits) + 0.0:.{digits}%} ± {error:.{digits}%}"  # no -0


def shells(graph: AgentGraph, partition: Partition, hops: int) -> Tensor:
    """CSR matrix ``[(D + 1) * N, P]``, 1 in row d * N + i where block J is at exactly d hops of agent i.

    D is the largest such distance, at most ``hops``.
    """
    near = graph.khop(hops, partition.blocks).tocoo()
    distance, agents = near.data - 1, near.col
    rows, columns = (torch.from_numpy(x.astype(np.int64)) for x in (distance * graph.n_agents + agents, near.row))
    size = (int(distance.max()) + 1) * graph.n_agents
    return csr_matrix(rows, columns, torch.ones(len(rows)), (size, partition.n_blocks))


def episode_gradients(ascent: Ascent, mask: Tensor, near: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    """Σ ∇ log π_i(a_i) A_i^d over the transitions and agents of a rollout, flat: ``[D + 1, parameters]``.

    Args:
        ascent: Along one episode, or several that are to count as one.
        mask: ``[T, B]`` bool, the transitions.
        near: Result of :func:`shells`.
        parameters: Of the agents' networks.
    """
    log_probs, advantages = ascent.log_probs, ascent.advantages
    flat = advantages.flatten(0, 1).T.contiguous()  # [P, T * B]
    credit = (near @ flat).view(-1, log_probs.size(-1), *mask.shape).movedim(1, -1)  # [D + 1, T, B, N]
    gains = ((credit * log_probs).sum(dim=-1) * mask).flatten(1).sum(dim=1)
    rows = []
    for gain in gains.unbind():  # one backward pass a distance
        slopes = torch.autograd.grad(gain, parameters, retain_graph=True, materialize_grads=True, allow_unused=True)
        rows.append(torch.cat([slope.flatten() for slope in slopes]))
    return torch.stack(rows)


def gradient(per_episode: Iterable[Tensor], kappa: int, n_transitions: int, n_agents: int) -> Gradient:
    """Estimate shares and cosines.

    Args:
        per_episode: Result of :func:`episode_gradients` for each of at least 3 independent episodes.
        kappa: Hops within which the agents ascend blocks.
        n_transitions: Of all episodes together.
        n_agents: Number of agents N.
    """
    each = torch.stack(list(per_episode)).double()  # [B, D + 1, parameters]
    n_episodes = len(each)
    each = each * (n_episodes / (n_transitions * n_agents))
    # ⟨g_d, g_e⟩ of each episode with all others, then of all pairs, then without the pairs of each episode
    with_all = torch.einsum("bdx,ex->bde", each, each.sum(dim=0)) - torch.einsum("bdx,bex->bde", each, each)
    total = with_all.sum(dim=0)
    products = total / (n_episodes * (n_episodes - 1))  # [D + 1, D + 1]
    without = (total - with_all - with_all.mT) / ((n_episodes - 1) * (n_episodes - 2))  # [B, D + 1, D + 1]
    norm, share, within, cosine = _statistics(products)
    errors = [_jackknife(values) for values in _statistics(without)]
    detected = bool(norm > CLEAR * errors[0])
    truncated = products.cumsum(-1).cumsum(-2).diagonal()
    truncated_error = _jackknife(without.cumsum(-1).cumsum(-2).diagonal(dim1=-2, dim2=-1))
    known = (truncated > CLEAR * truncated_error) & detected & errors[3].isfinite()
    beyond = beyond_error = None
    if detected and kappa + 1 < len(share):
        beyond = float(1 - within[kappa])
        beyond_error = float(errors[2][kappa])

    def plain(values: Tensor) -> tuple[float, ...]:
        return tuple(values.tolist()) if detected else ()

    def optional(values: Tensor) -> tuple[float | None, ...]:
        return tuple(x if there else None for x, there in zip(values.tolist(), known.tolist(), strict=True))

    return Gradient(
        n_episodes,
        n_transitions,
        kappa,
        float(norm),
        float(errors[0]),
        detected,
        plain(share),
        plain(errors[1]),
        plain(within),
        plain(errors[2]),
        optional(cosine) if detected else (),
        optional(errors[3]) if detected else (),
        beyond,
        beyond_error,
    )


def _statistics(products: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """⟨g, g⟩ ``[...]``; shares, shares within k and cosines ``[..., D + 1]``; of ⟨g_d, g_e⟩ ``[..., D + 1, D + 1]``."""
    norm = products.sum(dim=(-2, -1))
    share = products.sum(dim=-1) / norm[..., None]
    within = share.cumsum(dim=-1)
    truncated = products.cumsum(-1).cumsum(-2).diagonal(dim1=-2, dim2=-1)
    return norm, share, within, within * (norm[..., None] / truncated).sqrt()


def _jackknife(values: Tensor) -> Tensor:
    """Standard error of a statistic of B samples by its values ``[B, ...]`` without each of them."""
    return ((len(values) - 1) * values.var(dim=0, correction=0)).sqrt()
