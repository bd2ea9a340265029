"""The LightningModule: collects, samples, learns, and carries all of its state in its checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, distributed

from lomaq.envs import BatchedEnv, Rollout
from lomaq.errors import InputError, NonFiniteLossError
from lomaq.nn.flat import FlatParameters
from lomaq.objectives import Targets, ValueNetworks
from lomaq.objectives.base import Batch
from lomaq.objectives.scale import ValueScale
from lomaq.rewards import BlockReward
from lomaq.runs.stop import asked
from lomaq.training.experience.collector import Collector
from lomaq.training.experience.replay import Replay
from lomaq.training.process import let_build, let_nobody_build
from lomaq.training.settings import LearnerSettings

#: Makes ``n_envs`` parallel environments: (n_envs, seed, device).
EnvMaker = Callable[[int, int, torch.device], BatchedEnv]
Minibatch = tuple[Rollout, Targets | None]


class LomaqModule(pl.LightningModule):
    """LOMAQ (Algorithm 3) and every method that differs from it in settings only.

    One iteration, which is one Lightning epoch of one training step: collect a rollout, draw from the replay memory,
    compute targets once, then ``epochs`` × ``minibatches`` optimiser steps.

    Args:
        networks: Utilities and mixer.
        reward: Where block rewards come from.
        make_env: Makes training environments.
        settings: The learner.
        total_env_steps: The budget that schedules follow.
        seed: Seed of everything random.
        config: The run's resolved configuration, plain containers; stored with the checkpoint.
    """

    def __init__(
        self,
        networks: ValueNetworks,
        reward: BlockReward,
        make_env: EnvMaker,
        settings: LearnerSettings,
        total_env_steps: int,
        seed: int,
        config: dict[str, Any],
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.networks = networks
        self.target_copy = _copy(networks).requires_grad_(False) if settings.target != "none" else None
        self.reward, self.make_env, self.settings = reward, make_env, settings
        # learned rewards have gradients and steps of their own; DDP would wait for them in every pass of the values
        own = [name for name, _ in (*self.named_parameters(), *self.named_buffers()) if name.startswith("reward.")]
        # and it cannot send sparse matrices, which are the same in all processes
        sparse = [name for name, buffer in self.named_buffers() if buffer.layout == torch.sparse_csr]
        self._ddp_params_and_buffers_to_ignore = [*own, *sparse]
        self.total_env_steps, self.seed, self.run_config = total_env_steps, seed, config
        self.scale = ValueScale(settings.scale_decay)
        self.replay = Replay(settings.replay_capacity)
        self.env_steps = 0
        self.stopping = False  # after this iteration, in all processes alike
        self.rollouts = self.copied_at = 0
        self.metrics: dict[str, float] = {}  # of the last iteration
        self.history: dict[str, Any] = {}  # owned by the recorder, travels in the checkpoint
        self._sums: dict[str, Tensor] = {}
        self._updates = 0
        # what is drawn while learning; it continues where the start of the networks left the global generator
        self.generator = torch.Generator()
        self.generator.set_state(torch.get_rng_state())
        self._waiting: dict[str, Any] | None = None

    # ---------------------------------------------------------------- lifecycle

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        own = self.reward.make_optimizer()
        self.flat = FlatParameters(self.networks.parameters())
        return [self.settings.make_optimizer([self.flat.vector]), *([] if own is None else [own])]

    def train_dataloader(self) -> Sequence[int]:
        return range(1)  # an epoch is one iteration, which collects for itself

    def on_fit_start(self) -> None:
        env_seed, action_seed, sample_seed, learning_seed = stream_seeds(self.seed, self.global_rank, 4)
        if self.device.type != "cpu":
            self.generator = torch.Generator(self.device).manual_seed(learning_seed)
        env = self.make_env(self.settings.n_envs, env_seed, self.device)
        policy, steps = self.settings.objective.policy, self.settings.rollout_steps
        self.collector = Collector(env, self.networks.utilities, action_seed, steps, policy)
        self.sampler = torch.Generator().manual_seed(sample_seed)
        if self._waiting is not None:
            self._restore(self._waiting)
            self._waiting = None
        let_nobody_build()

    def on_train_start(self) -> None:
        let_build()

    # ---------------------------------------------------------------- iteration

    @property
    def target(self) -> ValueNetworks:
        """The networks that make the targets."""
        return self.networks if self.target_copy is None else self.target_copy

    @property
    def steps_done(self) -> tuple[int, int]:
        """Env steps trained, and those of the last checkpoint."""
        return self.env_steps, self.history.get("evaluated_at", 0)

    @property
    def epsilon(self) -> float:
        """ε of the next rollout."""
        return self.settings.epsilon.at(self.env_steps)

    def training_step(self, batch: int, batch_idx: int) -> None:
        self.run_iteration()

    def run_iteration(self) -> None:
        """Collect (at first until a batch can be drawn), then learn from the minibatches with their targets.

        While rewards are still being learned there may be none.
        """
        self._sums, self._updates = {}, 0
        batch = None
        while batch is None:
            self._collect()
            batch = self.replay.sample(self.settings.batch_size, self.sampler, self.device)
        self.metrics["lr"] = self._set_learning_rate()
        own = self.trainer.optimizers[1] if len(self.trainer.optimizers) > 1 else None
        ready, metrics = self.reward.fit_and_relabel(batch, own, self.sampler)
        self.metrics |= metrics
        if ready is not None:
            for minibatch in self._minibatches(ready):
                self.learn(*minibatch)

    def _collect(self) -> None:
        self.metrics = {"epsilon": self.epsilon}
        collected = self.collector.collect(self.settings.epsilon.ladder(self.env_steps, self.settings.n_envs))
        self._measure(collected)
        rollout, metrics = self.reward.observe(collected)
        self.metrics |= metrics
        self.replay.add(rollout, self.settings.rollout_steps or self.collector.env.max_steps)
        sums = [rollout.mask.sum(), rollout.rewards.mul(rollout.mask[..., None]).sum()]
        total = torch.stack([*sums, torch.tensor(float(asked()), device=self.device)]).double()
        if self.trainer.world_size > 1:
            distributed.all_reduce(total)
        self.env_steps += int(total[0])
        self.stopping |= bool(total[2])
        self.rollouts += 1
        self.metrics["reward_per_agent_step"] = float(total[1] / total[0]) / self.collector.env.n_agents
        if self.run_config["evaluation"]["per_agent"]:
            each = collected.rewards.mul(collected.mask[..., None]).sum(dim=(0, 1)).double()  # [N]
            if self.trainer.world_size > 1:
                distributed.all_reduce(each)
            self.metrics |= {f"reward_agent_{agent}": x for agent, x in enumerate((each / total[0]).tolist())}

    def _measure(self, rollout: Rollout) -> None:
        """Let normalised utilities see a rollout, of all processes, and the target's have the same numbers."""
        if (norm := self.networks.utilities.norm) is None:
            return
        sums = norm.sums(rollout.observations[:-1], rollout.mask)
        if self.trainer.world_size > 1:
            distributed.all_reduce(sums)
        norm.add(sums)
        if self.target_copy is not None and (slow := self.target_copy.utilities.norm) is not None:
            slow.load_state_dict(norm.state_dict())

    def _minibatches(self, batch: Rollout) -> Iterator[Minibatch]:
        settings = self.settings
        if self._one_forward:
            self.metrics["value_scale"] = self.scale.sigma
            yield batch, None
            return
        targets = self._targets(batch, self._acted() if batch is self.replay.last else None)
        if settings.value_scale == "running":
            ratio = self.scale.update(targets.returns[batch.mask])
            settings.objective.rescale_(self.networks, ratio)
            if self.target_copy is not None:
                settings.objective.rescale_(self.target_copy, ratio)
        self.metrics["value_scale"] = self.scale.sigma
        targets = targets.in_units_of(self.scale.sigma)
        for number in range(settings.epochs):
            before, updates = dict(self._sums), self._updates
            if settings.minibatches == 1:
                yield batch, targets
            else:
                order = torch.randperm(batch.n_sequences, generator=self.sampler).to(self.device)
                for columns in order.tensor_split(settings.minibatches):
                    yield batch.select(columns), targets.select(columns)
            made = self._updates - updates
            means = {name: (total - before.get(name, 0)) / made for name, total in self._sums.items()}
            if number + 1 < settings.epochs and not settings.objective.another_pass(means):
                return

    @property
    def _one_forward(self) -> bool:
        """Whether one forward pass of the online networks can serve both the targets and the loss."""
        s = self.settings
        shares = s.objective.selects_online and s.target != "none"
        return shares and s.epochs * s.minibatches == 1 and s.value_scale == "none"

    def _acted(self) -> Tensor | None:
        """The unroll of the online networks along the last rollout, where what they gave while acting is that."""
        same = self.settings.objective.unrolls_outputs and self.networks.utilities.norm is None
        return self.collector.unrolled() if same else None

    def _targets(self, rollout: Rollout, unrolled: Any = None) -> Targets:
        rewards = self.reward.aggregate(rollout.rewards)
        progress = min(1.0, self.env_steps / self.total_env_steps)
        return self.settings.objective.targets(
            Batch(self.networks, self.target, rollout, rewards, self.scale.sigma, unrolled, self.generator, progress)
        )

    @property
    def _value_optimizer(self) -> pl.core.optimizer.LightningOptimizer:
        optimizers = self.optimizers()
        first = optimizers[0] if isinstance(optimizers, list) else optimizers
        assert isinstance(first, pl.core.optimizer.LightningOptimizer)
        return first

    def learn(self, rollout: Rollout, targets: Targets | None) -> None:
        """One optimiser step; without targets, these are made by the same forward pass."""
        objective, unrolled = self.settings.objective, None
        if targets is None:
            unrolled = objective.unroll(self.networks, rollout)
            targets = self._targets(rollout, unrolled)
        optimizer = self._value_optimizer
        loss, metrics = objective.loss(self.networks, rollout, targets, unrolled)
        self.flat.zero_grad()
        self.manual_backward(loss)
        self.flat.gather()
        norm = self.flat.clip_(self.settings.grad_clip)
        optimizer.step()
        self.networks.mixer.project_()
        clipped = (norm > self.settings.grad_clip).float()
        for name, value in {"loss": loss.detach(), "grad_norm": norm, "clip_share": clipped, **metrics}.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._updates += 1

    def on_train_epoch_end(self) -> None:
        self.metrics |= {name: float(total) / self._updates for name, total in self._sums.items()}
        for name, value in self.metrics.items():
            if name.endswith(("loss", "grad_norm")) and not np.isfinite(value):
                remedy = "reward.fit.lr" if name.startswith("reward") else "learner.lr or learner.grad_clip"
                raise NonFiniteLossError(f"the {name} became {value} at {self.env_steps} env steps; lower {remedy}")
        self._update_target()

    def _update_target(self) -> None:
        settings = self.settings
        if settings.target == "hard" and self.rollouts - self.copied_at >= settings.target_every:
            self.target.load_state_dict(self.networks.state_dict())
            self.copied_at = self.rollouts
        elif settings.target == "soft":
            with torch.no_grad():
                for slow, fast in zip(self.target.parameters(), self.networks.parameters(), strict=True):
                    slow.lerp_(fast, settings.target_rate)

    def _set_learning_rate(self) -> float:
        left = 1.0
        if self.settings.lr_decay == "linear":
            left = max(0.0, 1 - self.env_steps / self.total_env_steps)
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = optimizer.defaults["lr"] * left
        return self.settings.lr * left

    def close(self) -> None:
        """Close the environments, if there are any yet."""
        if "collector" in vars(self):
            self.collector.env.close()

    # --------------------------------------------------------------- checkpoint

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # written one by one, not as views of one vector
        checkpoint["state_dict"] = {name: value.clone() for name, value in checkpoint["state_dict"].items()}
        own: dict[str, Any] = {"collector": self.collector.state_dict(), "replay": self.replay.state_dict()}
        own |= {"sampler": self.sampler.get_state(), "generator": self.generator.get_state()}
        ranks: list[Any] = [own]
        if self.trainer.world_size > 1:
            ranks = [None] * self.trainer.world_size
            distributed.all_gather_object(ranks, own)
        checkpoint["lomaq"] = {
            "config": self.run_config,
            "env_steps": self.env_steps,
            "rollouts": self.rollouts,
            "copied_at": self.copied_at,
            "scale": self.scale.state_dict(),
            "sigma": self.scale.sigma,
            "history": self.history,
            "ranks": ranks,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["lomaq"]
        self.env_steps, self.rollouts, self.copied_at = state["env_steps"], state["rollouts"], state["copied_at"]
        self.scale.load_state_dict(state["scale"])
        self.history = state["history"]
        self._waiting = state  # the rest needs the environments, which on_fit_start makes

    def _restore(self, state: dict[str, Any]) -> None:
        ranks = state["ranks"]
        if len(ranks) != self.trainer.world_size:
            raise InputError(
                "trainer.devices",
                f"{len(ranks)} processes, as in the checkpoint",
                self.trainer.world_size,
                f"resume with trainer.devices={len(ranks)}",
            )
        own = ranks[self.global_rank]
        self.collector.load_state_dict(own["collector"])
        self.replay.load_state_dict(own["replay"])
        self.sampler.set_state(own["sampler"].cpu())
        self.generator.set_state(own["generator"].cpu())


def _copy(networks: ValueNetworks) -> ValueNetworks:
    """A deep copy; sparse buffers, which deepcopy cannot take, are cloned."""
    clones = {id(buffer): buffer.clone() for buffer in networks.buffers() if buffer.layout == torch.sparse_csr}
    return copy.deepcopy(networks, clones)


def stream_seeds(seed: int, rank: int, count: int) -> list[int]:
    """``count`` unrelated seeds for the random streams of one process of a run."""
    return [int(x) for x in np.random.SeedSequence([seed, rank]).generate_state(count)]
