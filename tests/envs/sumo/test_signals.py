from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from importlib.util import find_spec

import numpy as np
import pytest

from lomaq.errors import InputError

#: States of the network's program with their seconds.
PROGRAM = [("Gr", 20), ("yr", 3), ("rG", 20), ("ry", 3)]


def play(env, policy, seed=0):
    """Play an episode: the observations of all steps, rewards ``[T, N]`` and metrics."""
    observations, _ = env.reset(seed)
    seen, paid = [observations], []
    while env.agents:
        observations, rewards, *_ = env.step(policy(env))
        seen.append(observations)
        paid.append([*rewards.values()])
    return seen, np.array(paid), env.episode_metrics()


def always(phase):
    return lambda env: dict.fromkeys(env.agents, phase)


def green(env, name="A"):
    return env._sumo.trafficlight.getRedYellowGreenState(name)


def test_agents_are_the_signals_with_spaces_of_their_size(signals):
    env = signals()
    observations, infos = env.reset(seed=0)
    assert env.possible_agents == env.agents == [*observations] == [*infos] == ["A", "B"]
    assert env.action_space("A").n == 2
    assert env.observation_space("B").shape == (2 + 2 + 3 * 2 + 2,)
    assert all(env.observation_space(name).contains(seen) for name, seen in observations.items())


def test_the_same_seed_gives_the_same_episode_and_another_seed_another(signals):
    env = signals()
    runs = [play(env, lambda env: env.baseline("greedy_queue"), seed) for seed in (3, 3, 4)]
    flat = [np.stack([np.concatenate([*seen.values()]) for seen in run[0]]) for run in runs]
    assert np.array_equal(flat[0], flat[1])
    assert runs[0][2] == runs[1][2]
    assert not np.array_equal(flat[0], flat[2])


def test_another_phase_is_reached_through_yellow(signals, monkeypatch):
    env = signals()
    env.reset(seed=0)
    shown = []
    step = env._sumo.simulationStep

    def watch(until):
        shown.append((green(env), until - env.time))
        step(until)

    monkeypatch.setattr(env._sumo, "simulationStep", watch)
    env.step({"A": 0, "B": 0})
    env.step({"A": 1, "B": 0})
    env.step({"A": 1, "B": 1})
    assert shown == [("Gr", 10), ("yr", 3), ("rG", 10), ("rG", 3), ("rG", 10)]


def test_a_signal_stays_until_its_least_green_is_over(signals):
    env = signals(delta=4, yellow=2, min_green=7)
    env.reset(seed=0)
    phases = []
    for action in (1, 0, 0, 0, 0):
        observations, *_ = env.step(dict.fromkeys(env.agents, action))
        phases.append((observations["A"][:3] > 0).tolist())
    # changed at 0; at 4 and 8 too early, at 12 again allowed: phases and whether a change is allowed after each step
    assert phases == [
        [False, True, False],
        [False, True, False],
        [False, True, True],
        [True, False, False],
        [True, False, False],
    ]


def test_observations_count_what_stands_before_the_signal(signals):
    env = signals()
    env.reset(seed=0)
    for _ in range(12):
        observations, rewards, *_ = env.step({"A": 0, "B": 0})  # the row always has red
    lane, edge = env._sumo.lane, env._sumo.edge
    seen = observations["A"]
    assert seen[2] == 1  # a change is allowed
    assert seen[3] == 2  # for two minutes and more
    for i, name in enumerate(("NA_A", "W_A")):
        assert seen[4 + i] == pytest.approx(lane.getLastStepVehicleNumber(f"{name}_0") / 10)
        assert seen[6 + i] == pytest.approx(lane.getLastStepHaltingNumber(f"{name}_0") / 10)
        assert seen[8 + i] == pytest.approx(min(3, lane.getWaitingTime(f"{name}_0") / 300))
        assert seen[10 + i] == pytest.approx(edge.getLastStepVehicleNumber(name) / 20)
    vehicles = [v for v in env._sumo.vehicle.getIDList() if env._sumo.vehicle.getRoadID(v) in ("NA_A", "W_A")]
    assert len(vehicles) > 15
    lost = sum(max(0, 1 - env._sumo.vehicle.getSpeed(v) / 10) for v in vehicles)
    assert rewards["A"] == pytest.approx(-(lost + len(edge.getPendingVehicles("W_A"))) / 10, abs=0.02)
    assert rewards["B"] == pytest.approx(0, abs=0.2)


def test_vehicles_that_wait_to_enter_cost_unless_their_edge_is_ignored(signals):
    for ignored in ((), ("W_A",)):
        env = signals(seconds=900, ignore_edges=ignored, most_cost=None)
        env.reset(seed=0)
        for _ in range(30):
            _, rewards, *_ = env.step({"A": 0, "B": 0})
        outside = len(env._sumo.edge.getPendingVehicles("W_A"))
        assert outside > 10
        assert (rewards["A"] < -(outside + 20) / 10) == (not ignored)
        assert (rewards["A"] > -0.5) == bool(ignored)
        env.close()


def test_a_signal_is_charged_no_more_than_the_bound(signals):
    free, bound = (play(signals(seconds=600, most_cost=most), always(0))[1] for most in (None, 5))
    assert free.min() < -0.5
    np.testing.assert_allclose(bound, np.maximum(free, -0.5))


@pytest.mark.parametrize("name", ["fixed_time", "greedy_approaching"])
def test_rewards_decompose_the_total_delay(signals, name):
    if find_spec("sumo_rl") is None:
        pytest.skip("the network comes with sumo-rl")
    env = signals(net="cologne8", seconds=1200)
    _, rewards, metrics = play(env, lambda env: env.baseline(name))
    vehicles = len(ElementTree.parse(env._trips).findall("tripinfo"))
    assert -rewards.sum() * 10 * env.delta == pytest.approx(metrics["delay_all"] * vehicles, rel=0.12)


def test_metrics_count_everyone_where_the_usual_ones_count_who_arrived(signals):
    env = signals()
    _, _, starved = play(env, always(0))  # the row never has green
    _, _, served = play(env, lambda env: env.baseline("greedy_approaching"))
    assert starved["delay"] < served["delay"]
    assert starved["delay_all"] > 3 * served["delay_all"]
    assert starved["unfinished"] > served["unfinished"] > 0
    trips = ElementTree.parse(env._trips).findall("tripinfo")
    delays = [float(t.get("timeLoss", 0)) + float(t.get("departDelay", 0)) for t in trips]
    assert served["delay_all"] == pytest.approx(np.mean(delays))
    assert served["unfinished"] == sum(float(t.get("arrival", 0)) < 0 for t in trips)


def test_vehicles_of_ignored_edges_are_not_counted(signals):
    env = signals(seconds=900, ignore_edges=("W_A",))
    _, _, metrics = play(env, always(0))
    assert metrics["unfinished"] < 5
    assert metrics["delay_all"] < 10


def test_fixed_time_follows_the_program_also_after_other_actions(signals):
    env = signals(delta=1, yellow=0, min_green=1, seconds=200)
    env.reset(seed=0)
    shown = []
    for step in range(100):
        env.step(env.baseline("fixed_time") if step != 50 else {"A": 1, "B": 1})
        shown.append(green(env))
    assert [(state, shown[:46].count(state)) for state in dict.fromkeys(shown[:46])] == PROGRAM
    assert {*shown[51:]} == {"Gr", "yr", "rG", "ry"}


def test_baselines_look_at_the_right_lanes(signals):
    env = signals()
    env.reset(seed=0)
    for _ in range(10):
        env.step({"A": 0, "B": 0})
    for name in ("greedy_queue", "greedy_approaching", "max_pressure"):
        assert env.baseline(name)["A"] == 1, name  # all but the crossing road stand
    for _ in range(10):
        env.step({"A": 1, "B": 0})
    assert env.baseline("greedy_queue") == {"A": 0, "B": 1}  # the row has filled the road between them
    assert env.baseline("max_pressure")["B"] == 1


def test_the_episode_is_truncated_and_over(signals):
    env = signals(seconds=40)
    env.reset(seed=0)
    ends = [env.step(env.baseline("greedy_queue"))[2:4] for _ in range(4)]
    assert [end[1]["A"] for end in ends] == [False, False, False, True]
    assert not any(end[0]["A"] for end in ends)
    assert env.agents == []
    assert env.step({}) == ({}, {}, {}, {}, {})


def test_a_process_holds_one_simulation(signals):
    one, other = signals(), signals()
    one.reset(seed=0)
    with pytest.raises(RuntimeError, match="two simulations in a process"):
        other.reset(seed=0)
    one.close()
    other.reset(seed=0)
    assert other.agents == ["A", "B"]


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"net": "paris"}, ["env.net", "cologne8", ".net.xml", "paris"]),
        ({"net": "missing.net.xml"}, ["env.routes", ".rou.xml"]),
        ({"net": "missing.net.xml", "routes": "missing.rou.xml"}, ["env.net", "a file", "missing.net.xml"]),
        ({"net": "grid4x4", "routes": "mine.rou.xml"}, ["env.routes", "null", "grid4x4"]),
        ({"yellow": 10}, ["env.yellow", "0 to 9", "10"]),
        ({"seconds": 5}, ["env.seconds", "at least 10", "5"]),
        ({"ignore_edges": ("nowhere",)}, ["env.ignore_edges", "nowhere"]),
    ],
)
def test_impossible_settings_are_one_line(signals, settings, names):
    with pytest.raises(InputError) as error:
        signals(**settings)
    assert all(name in str(error.value) for name in names)
    assert "\n" not in str(error.value)


def test_files_that_are_no_networks_are_one_line(signals, tiny, tmp_path):
    file = tmp_path / "broken.xml"
    file.write_text("<net><edge")
    for settings in ({"net": str(file), "routes": tiny["routes"]}, {**tiny, "routes": str(file)}):
        with pytest.raises(InputError, match=r"broken\.xml"):
            signals(**settings)
    file.write_text("<routes/>")
    with pytest.raises(InputError, match="vehicles, trips or flows"):
        signals(**{**tiny, "routes": str(file)})
