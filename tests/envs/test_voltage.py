"""Voltage control: dynamics, observations, rewards, metrics and baseline policies."""

import numpy as np
import pytest
import torch

from lomaq.envs import Voltage
from lomaq.envs.voltage import baselines
from lomaq.errors import InputError
from lomaq.testing import check_env


def played(env: Voltage, steps: int, seed: int = 0):
    """Each step's actions, rewards, and voltages ``[B, buses]`` after it."""
    generator = torch.Generator().manual_seed(seed)
    env.reset()
    for _ in range(steps):
        actions = torch.randint(env.n_actions, (env.n_envs, env.n_agents), generator=generator)
        yield actions, env.step(actions)[1], env.voltage.clone()


@pytest.mark.parametrize("settings", [{}, {"inverters": 0.2, "steps": 3}, {"feeder": "bus69"}], ids=str)
def test_voltages_are_the_exact_flow_of_what_is_drawn(settings):
    env = Voltage(n_envs=2, **settings)
    env.reset()
    env.time.fill_(48)
    load, sun = (x.numpy().astype(np.float64) for x in env.forecast())
    actions = torch.randint(env.n_actions, (2, env.n_agents), generator=torch.Generator().manual_seed(1))
    env.step(actions)
    power = load * env.feeder.load * 0.7
    for agent, bus in enumerate(env.bus.tolist()):
        panels = 4.0 * 0.7 * env.feeder.load[bus].real
        level = float(actions[0, agent]) * 2 / (env.n_actions - 1) - 1
        power[0, bus] -= panels * sun[0, bus] + 1j * 0.6 * panels * level
    voltage = np.ones_like(power[0])
    for _ in range(200):
        voltage = 1 - (power[0] / voltage).conj() @ env.feeder.shared
    assert np.abs(env.voltage[0].numpy() - np.abs(voltage)).max() < 1e-7


def test_agents_see_the_voltage_of_the_last_step_and_the_sun_and_load_of_the_coming_one():
    env = Voltage(n_envs=3)
    for _ in played(env, 30):
        pass
    seen, (load, sun) = env.observe(), env.forecast()
    for k, agent in ((0, 0), (2, 17)):
        bus, angle = int(env.bus[agent]), 2 * np.pi * 30 / 96
        share = env.feeder.load.real[bus] / env.feeder.load.real[env.bus].mean()
        expected = [20 * (float(env.voltage[k, bus]) - 1), float(sun[k, bus]), float(load[k, bus])]
        expected += [float(env.reactive[k, agent]), np.sin(angle), np.cos(angle), share]
        np.testing.assert_allclose(seen[k, agent], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("inverters", ["all", 0.3])
def test_rewards_are_the_violations_and_the_control_of_each_zone(inverters):
    env = Voltage(n_envs=2, inverters=inverters, sun=5.0)
    zone = env.feeder.nearest(env.bus.tolist())
    least = 0.0
    for actions, rewards, voltage in played(env, 80):
        expected = np.zeros((2, env.n_agents))
        for k in range(2):
            for bus, value in enumerate(voltage[k].tolist()):
                expected[k, zone[bus]] -= 100 * max(0.0, abs(value - 1) - 0.05)
            expected[k] -= 0.05 * ((actions[k].numpy() - 2) / 2) ** 2
        np.testing.assert_allclose(rewards, expected, atol=1e-5)
        np.testing.assert_allclose(rewards.sum(dim=1), -env.price(voltage, env.reactive), rtol=1e-5)
        least = min(least, float(rewards.min()))
    assert least < -0.5  # there were violations


def test_metrics_are_those_of_a_plain_loop():
    env = Voltage(n_envs=2, sun=5.0)
    violations = []
    for _, _, voltage in played(env, 70):
        violations.append(np.maximum(np.abs(voltage.numpy() - 1) - 0.05, 0))
    violation = np.stack(violations)  # [T, B, buses]
    found = env.episode_metrics()
    np.testing.assert_allclose(found["violated_share"], (violation.max(axis=2) > 0).mean(axis=0))
    np.testing.assert_allclose(found["mean_violation"], violation.mean(axis=(0, 2)))
    np.testing.assert_allclose(found["worst_violation"], violation.max(axis=(0, 2)))
    assert violation.max() > 0
    env.reset(torch.tensor([True, False]))
    assert env.episode_metrics()["violated_share"].tolist() == [0.0, float(found["violated_share"][1])]


def test_losses_are_megawatt_hours():
    env = Voltage(sun=0.001, reactive=0.001)
    env.reset()
    _, per_unit = env.solve(*env.forecast(), env.reactive)
    env.step(torch.full((1, env.n_agents), 2))
    assert float(env.episode_metrics()["losses"]) == pytest.approx(float(per_unit) / 4)


def test_who_has_an_inverter():
    largest = Voltage(inverters=0.1)
    assert sorted(largest.graph.names, key=int) == ["24", "25", "32"]  # 420, 420 and 210 kW
    assert Voltage(inverters=["18", "6"]).graph.names == [name for name in largest.feeder.names if name in ("6", "18")]
    assert Voltage(feeder="bus69").n_agents == 48  # the others have no load
    for wrong in ("some", [], ["2", "2"], ["1"], 0, 1.5, True, None):
        with pytest.raises(InputError, match=r"env\.inverters"):
            Voltage(inverters=wrong)


@pytest.mark.parametrize(
    "settings",
    [{"steps": 4}, {"steps": 1}, {"load": 0}, {"sun": -1}, {"reactive": 0}, {"cost": -1}, {"profiles": "no.csv"}],
    ids=str,
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(InputError, match=f"env\\.{next(iter(settings))}"):
        Voltage(**settings)


def test_a_feeder_that_collapses_is_refused():
    with pytest.raises(InputError, match="voltage collapse"):
        Voltage(load=4.0)


@pytest.mark.parametrize("settings", [{}, {"inverters": 0.3, "feeder": "generated", "n_buses": 50}], ids=str)
def test_the_contract_is_kept(settings):
    check_env(Voltage, **settings)


def test_a_stored_state_goes_on_identically():
    env, other = Voltage(n_envs=2, seed=1), Voltage(n_envs=2, seed=2)
    for _ in played(env, 5):
        pass
    other.load_state_dict(env.state_dict())
    actions = torch.ones(2, env.n_agents, dtype=torch.int64)
    for one, two in zip(env.step(actions), other.step(actions), strict=True):
        assert torch.equal(one, two)
    assert torch.equal(env.episode_metrics()["mean_violation"], other.episode_metrics()["mean_violation"])


# ----------------------------------------------------------- baseline policies


def test_a_droop_feeds_what_its_curve_says():
    env = Voltage()
    env.reset()
    env.voltage[0, env.bus[:6]] = torch.tensor([1.0, 1.019, 1.05, 1.09, 0.95, 0.9], dtype=torch.float64)
    assert baselines.droop(0.02, 0.08)(env)[0, :6].tolist() == [2, 2, 1, 0, 3, 4]
    env.reactive[0, :6] = 1.0
    assert baselines.droop(0.02, 0.08, 0.5)(env)[0, :6].tolist() == [3, 3, 3, 2, 4, 4]  # half of the way


def test_the_tuned_droops_are_the_best_of_those_tried_and_the_optimum_is_better():
    env = Voltage()
    found = {name: float(days["return"].mean()) for name, days in baselines.measured(env, days=3).items()}
    assert [*found] == [*env.baselines(), "central optimum"]
    assert (
        found["no_control"]
        < found["droop_ieee1547"]
        < found["droop"]
        <= found["droop_damped"]
        < found["central optimum"]
    )
    on_their_days = baselines.play(env, baselines.droop(0.02, 0.05), baselines.TUNING_DAYS, baselines.TUNING_SEED)
    tuned = baselines.play(env, env.baselines()["droop"], baselines.TUNING_DAYS, baselines.TUNING_SEED)
    assert tuned["return"].mean() > on_their_days["return"].mean()


def test_the_optimiser_is_no_worse_than_every_step_of_a_single_inverter():
    env = Voltage(inverters=["18"], sun=20.0)
    env.reset()
    env.time.fill_(78)  # half past seven in the evening
    load, sun = env.forecast()
    best = env.price(env.solve(load, sun, baselines.optimum(env, load, sun))[0], baselines.optimum(env, load, sun))
    for level in np.linspace(-1, 1, 41):
        reactive = torch.full((1, 1), level, dtype=torch.float32)
        assert float(best) <= float(env.price(env.solve(load, sun, reactive)[0], reactive)) + 1e-3


def test_baselines_leave_the_environment_as_it_is():
    env = Voltage(n_envs=2)
    env.reset()
    before = env.state_dict()
    env.oracle()
    baselines.play_optimum(env, days=2, seed=0)
    assert all(torch.equal(value, env.state_dict()[name]) for name, value in before.items())
