"""One iteration of the LightningModule, part by part."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lomaq.envs import Rollout
from lomaq.mixers import MaskedMLPMixer
from lomaq.objectives import PPO, Objective, PartitionTD, Targets
from lomaq.objectives.base import Metrics, ValueNetworks
from lomaq.objectives.scale import ValueScale
from lomaq.rewards import RewardSource
from lomaq.training import LomaqModule, NonFiniteLossError
from lomaq.training.checkpoint import load_checkpoint


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def last(folder: Path) -> dict[str, Any]:
    return load_checkpoint(folder / "checkpoints" / "last.ckpt")


@pytest.fixture
def spy(monkeypatch):
    """Record what a method of the module is called on: ``spy("learn", see)`` calls ``see(module, *args)``."""

    def watch(name: str, see, after=None) -> None:
        method = getattr(LomaqModule, name)

        def watched(self: LomaqModule, *args: Any) -> Any:
            see(self, *args)
            result = method(self, *args)
            if after is not None:
                after(self, *args)
            return result

        monkeypatch.setattr(LomaqModule, name, watched)

    return watch


# ------------------------------------------------------------------- one update


def smallest_weight(folder: Path) -> float:
    state = last(folder)["state_dict"]
    return min(float(state[f"networks.mixer.{name}"].min()) for name in ("w1", "w2", "w3"))


def test_weights_are_projected_after_every_update(run_small, monkeypatch) -> None:
    words = ("mixer.monotonicity=projection", "learner.optimizer=adam", "learner.lr=0.05")
    assert smallest_weight(run_small("projected", *words)[0]) == 0.0
    monkeypatch.setattr(MaskedMLPMixer, "project_", lambda self: None)
    assert smallest_weight(run_small("free", *words)[0]) < 0  # so it is the projection that kept them up


def test_gradients_are_clipped_to_the_largest_norm_that_is_set(run_small, monkeypatch) -> None:
    norms: list[float] = []
    step = torch.optim.RAdam.step

    def watched(self: torch.optim.Optimizer, closure: Any = None) -> Any:
        gradients = [p.grad.flatten() for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.cat(gradients).norm()))
        return step(self, closure)

    monkeypatch.setattr(torch.optim.RAdam, "step", watched)
    folder, _ = run_small("run", "learner.grad_clip=0.05")
    assert norms
    assert max(norms) <= 0.05 * (1 + 1e-5)
    rows = rows_of(folder)[1:]
    assert max(float(row["grad_norm"]) for row in rows) > 0.05  # the norm that is logged is that before clipping
    assert all(float(row["clip_share"]) == 1.0 for row in rows if float(row["grad_norm"]) > 1)
    free, _ = run_small("free", "learner.grad_clip=1e9")
    assert {row["clip_share"] for row in rows_of(free)[1:]} == {"0"}


def test_an_iteration_passes_over_every_sequence_once_an_epoch(run_small, spy) -> None:
    seen: list[list[tuple[float, ...]]] = []
    spy("run_iteration", lambda module: seen.append([]))
    spy("learn", lambda module, rollout, targets: seen[-1].extend(map(tuple, rollout.actions[:, :, 0].T.tolist())))
    run_small("run", "learner.epochs=3", "learner.minibatches=2", "learner.n_envs=5")
    learned = [sequences for sequences in seen if sequences]
    assert len(learned) > 3
    for sequences in learned:
        assert len(sequences) == 3 * 5
        epochs = [sorted(sequences[5 * k : 5 * (k + 1)]) for k in range(3)]
        assert epochs[0] == epochs[1] == epochs[2]


@pytest.mark.parametrize(("max_kl", "passes"), [("1e9", 3), ("1e-12", 1)])
def test_passes_over_a_rollout_end_once_the_policies_have_moved_too_far(run_small, spy, max_kl, passes) -> None:
    updates: list[int] = []
    spy("run_iteration", lambda module: updates.append(0))
    spy("learn", lambda module, rollout, targets: updates.append(updates.pop() + 1))
    words = ("algo=khop_ppo", "learner.epochs=3", "learner.lr_decay=none", f"learner.objective.max_kl={max_kl}")
    run_small("run", *words)
    learned = [count for count in updates if count]
    assert len(learned) > 3
    assert set(learned) == {passes * 2}  # minibatches


def test_a_pass_is_judged_by_its_own_metrics_alone(run_small, monkeypatch) -> None:
    judged, made = [], []

    def another_pass(self: PPO, metrics: dict[str, Tensor]) -> bool:
        judged.append({name: float(value) for name, value in metrics.items()})
        return True

    def recorded(self: PPO, *arguments: Any) -> tuple[Tensor, Metrics]:
        loss, metrics = of_part(self, *arguments)
        made.append(float(metrics["kl"]))
        return loss, metrics

    of_part = PPO.loss
    monkeypatch.setattr(PPO, "another_pass", another_pass)
    monkeypatch.setattr(PPO, "loss", recorded)
    folder, _ = run_small("run", "algo=ippo", "learner.epochs=3", "learner.minibatches=2")
    passes = [(a + b) / 2 for a, b in zip(made[::2], made[1::2], strict=True)]
    judged_passes = [kl for number, kl in enumerate(passes, start=1) if number % 3]  # there is none after the last
    assert [metrics["kl"] for metrics in judged] == pytest.approx(judged_passes, abs=1e-7)
    assert {"loss", "entropy", "ratio_clip_share"} <= judged[0].keys()
    means = [sum(passes[i : i + 3]) / 3 for i in range(0, len(passes), 3)]
    assert [float(row["kl"]) for row in rows_of(folder) if row["kl"]] == pytest.approx(means, rel=1e-3, abs=1e-6)


def test_minibatches_carry_the_targets_of_their_own_sequences(run_small, spy, monkeypatch) -> None:
    whole: list[tuple[Rollout, Targets]] = []
    targets = PartitionTD.targets

    def watched(self: PartitionTD, batch: Any) -> Targets:
        found = targets(self, batch)
        whole.append((batch.rollout, found))
        return found

    def compare(module: LomaqModule, rollout: Rollout, found: Targets) -> None:
        assert found.scale == module.scale.sigma
        for column in range(rollout.n_sequences):
            mine = rollout.observations[:, column]
            (place,) = (b for b in range(4) if torch.equal(whole[-1][0].observations[:, b], mine))
            raw = whole[-1][1].returns[:, place]
            torch.testing.assert_close(found.returns[:, column], raw / module.scale.sigma)

    monkeypatch.setattr(PartitionTD, "targets", watched)
    spy("learn", compare)
    run_small("run")
    assert whole


# ------------------------------------------------------------------ target networks


def parameters_of(networks: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in networks.parameters()]


def test_a_soft_target_moves_by_its_rate_towards_the_online_networks(run_small, spy) -> None:
    before: list[list[Tensor]] = []

    def compare(module: LomaqModule) -> None:
        for old, new, fast in zip(
            before[-1], parameters_of(module.target), parameters_of(module.networks), strict=True
        ):
            torch.testing.assert_close(new, old + 0.125 * (fast - old))

    spy("on_train_epoch_end", lambda module: before.append(parameters_of(module.target)), after=compare)
    run_small("run", "learner.target=soft", "learner.target_rate=0.125", "learner.value_scale=none")
    assert len(before) > 3


def test_a_hard_target_is_renewed_every_so_many_rollouts(run_small, spy) -> None:
    renewed: list[bool] = []

    def compare(module: LomaqModule) -> None:
        pairs = zip(parameters_of(module.target), parameters_of(module.networks), strict=True)
        renewed.append(all(torch.equal(a, b) for a, b in pairs))

    spy("on_train_epoch_end", lambda module: None, after=compare)
    run_small("run", "learner.target=hard", "learner.target_every=3", "learner.value_scale=none")
    assert renewed == [(k + 1) % 3 == 0 for k in range(len(renewed))]
    assert len(renewed) > 6


def test_actors_learn_from_old_sequences_with_the_learner_of_the_paper(run_small, spy) -> None:
    learned: list[int] = []

    def see(module: LomaqModule, rollout: Rollout, targets: Targets | None) -> None:
        assert rollout.epsilon is None  # of rollouts of several ages
        learned.append(rollout.n_sequences)

    spy("learn", see)
    words = ("env.max_steps=20", "learner.replay_capacity=30", "learner.batch_size=6", "learner.target_every=2")
    folder, _ = run_small("run", "algo=loc_facmac", "learner=paper", *words, "learner.minibatches=1")
    assert len(learned) > 3
    assert set(learned) == {6}
    rows = [row for row in rows_of(folder) if row["loss"]]
    assert all(float(row[name]) > 0 for row in rows for name in ("critic_loss", "entropy", "grad_norm"))
    state = last(folder)["state_dict"]
    for part in ("utilities", "critic", "mixer"):
        moved = [name for name in state if name.startswith(f"networks.{part}.")]
        assert any(not state[name].equal(state[name.replace("networks", "target_copy", 1)]) for name in moved)


# ------------------------------------------------------------------ scale and schedules


@pytest.mark.parametrize("algo", ["lomaq", "vdn", "qtran"])
def test_when_the_scale_moves_networks_and_target_keep_their_values_in_rewards(run_small, monkeypatch, algo) -> None:
    update, ratios = ValueScale.update, []

    def watched(self: ValueScale, returns: Tensor) -> float:
        ratios.append(update(self, returns))
        return ratios[-1]

    rescale, checked = Objective.rescale_, []

    def compare(self: Any, networks: ValueNetworks, factor: float) -> None:
        chosen, observations = torch.randn(2, 3), torch.randn(2, 3, 4)
        unmixed = not networks.mixer.head()  # then the utilities themselves are rescaled
        before = networks.mixer(chosen, observations)
        rescale(self, networks, factor)
        after = networks.mixer(chosen * factor if unmixed else chosen, observations)
        torch.testing.assert_close(after, before * factor, rtol=1e-4, atol=1e-5)
        assert factor == ratios[-1]
        checked.append(networks)

    monkeypatch.setattr(ValueScale, "update", watched)
    monkeypatch.setattr(Objective, "rescale_", compare)
    run_small("run", f"algo={algo}", "learner.target=hard", "learner.scale_decay=0.5")
    assert len(checked) == 2 * len(ratios)  # online and target
    assert any(abs(ratio - 1) > 0.05 for ratio in ratios[1:])


def test_the_learning_rate_falls_on_a_line_to_the_end_of_the_budget(run_small) -> None:
    folder, _ = run_small("run", "learner.lr=0.01", "total_env_steps=400")
    rows = rows_of(folder)[1:]
    for row in rows:  # the rate of an iteration follows the steps collected up to it
        assert float(row["lr"]) == pytest.approx(0.01 * max(0.0, 1 - int(row["env_steps"]) / 400), abs=1e-9)
    constant, _ = run_small("constant", "learner.lr=0.01", "learner.lr_decay=none")
    assert {row["lr"] for row in rows_of(constant)[1:]} == {"0.01"}


def test_epsilon_of_a_rollout_follows_the_steps_before_it(run_small) -> None:
    words = ("learner.epsilon.start=0.8", "learner.epsilon.end=0.2", "learner.epsilon.anneal_env_steps=200")
    steps = 0
    for row in rows_of(run_small("run", *words)[0])[1:]:
        assert float(row["epsilon"]) == pytest.approx(0.8 - 0.6 * min(1.0, steps / 200), abs=1e-6)
        steps = int(row["env_steps"])


# ------------------------------------------------------------------ metrics are open


class Counting(PartitionTD):
    """An objective with a metric of its own."""

    def transition_loss(self, *arguments: Any) -> tuple[Tensor, Metrics]:
        loss, metrics = super().transition_loss(*arguments)
        return loss, {**metrics, "largest, of all": loss.detach() * 0 + 3}


class Telling(RewardSource):
    """A reward that measures something."""

    def observe(self, rollout: Rollout) -> tuple[Rollout, dict[str, float]]:
        return rollout, {"heard": 0.25}


def test_metrics_of_an_own_objective_and_reward_are_columns_by_their_names(run_small) -> None:
    words = (f"learner.objective._target_={__name__}.Counting", f"reward._target_={__name__}.Telling")
    rows = rows_of(run_small("run", *words)[0])[1:]
    assert {row["largest, of all"] for row in rows} == {"3"}
    assert {row["heard"] for row in rows} == {"0.25"}


@pytest.mark.parametrize(
    ("algo", "metrics"),
    {
        "lomaq": {"td_error"},
        "lomaq_soft": {"td_error", "violation"},
        "lomaq_rd": {"reward_pass_rate", "reward_loss", "reward_error"},
        "qtran": {"td_error", "critic_loss", "optimal_loss", "taken_loss"},
        "ow_qmix": {"td_error", "critic_loss", "full_weight_share"},
        "graphmix": {"td_error", "local_loss"},
        "coma": {"td_error", "critic_loss", "entropy"},
        "khop_ppo": {"td_error", "critic_loss", "entropy", "kl", "ratio_clip_share", "explained_variance"},
        "loc_facmac": {"td_error", "critic_loss", "entropy"},
        "dcg": {"td_error"},
        "qplex": {"td_error"},
    }.items(),
)
def test_every_method_logs_its_errors_by_name(run_small, algo: str, metrics: set[str]) -> None:
    rows = rows_of(run_small("run", f"algo={algo}", "total_env_steps=80")[0])
    assert metrics | {"loss", "grad_norm", "clip_share"} <= {
        name for name in rows[-1] if any(row[name] for row in rows)
    } | ({"loss", "grad_norm", "clip_share"} if algo == "lomaq_rd" else set())  # its gate may still be closed


class Diverging(PartitionTD):
    """An objective one of whose losses is infinite."""

    def transition_loss(self, *arguments: Any) -> tuple[Tensor, Metrics]:
        loss, metrics = super().transition_loss(*arguments)
        return loss, {**metrics, "critic_loss": loss.detach() + torch.inf}


def test_any_loss_that_is_no_finite_number_ends_the_run_with_its_name(run_small) -> None:
    with pytest.raises(NonFiniteLossError, match=r"critic_loss became inf at 40 env steps.*learner\.lr"):
        run_small("run", f"learner.objective._target_={__name__}.Diverging")


# ------------------------------------------------------------------ randomness


def test_training_draws_from_generators_of_its_own(run_small) -> None:
    words = ("algo=coma", "deterministic=true")
    alone, _ = run_small("alone", *words)

    collect = LomaqModule.run_iteration

    def disturbed(self: LomaqModule) -> Any:
        torch.rand(7)  # somebody else uses the global generator meanwhile
        return collect(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LomaqModule, "run_iteration", disturbed)
        beside, _ = run_small("beside", *words)
    one, two = last(alone)["state_dict"], last(beside)["state_dict"]
    assert all(torch.equal(value, two[name]) for name, value in one.items())
