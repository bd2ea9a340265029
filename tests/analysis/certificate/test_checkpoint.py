"""Certificates of checkpoints: small trained runs pass, damaged ones fail, and the states they see are real."""

import io
import json

import pytest
import torch
from rich.console import Console

from lomaq.analysis.certificate.checkpoint import N_ENVS, certify_checkpoint, probe_mixer, visit
from lomaq.analysis.certificate.decay import exact_decay
from lomaq.analysis.certificate.gradient import shells
from lomaq.analysis.certificate.joint import exact_qsm
from lomaq.analysis.stored import FRESH_SEED, open_checkpoint
from lomaq.config import compose
from lomaq.envs import SysAdmin
from lomaq.errors import InputError, NonFiniteLossError
from lomaq.evaluation import GreedyActor
from lomaq.graphs import AgentGraph, Partition
from lomaq.nn import gather_actions
from lomaq.objectives import PPO
from lomaq.objectives.base import Batch
from lomaq.training.build import build_run
from lomaq.training.run import train

#: Overrides of a run and what its certificate counts: kappa, blocks, pairs (block, agent within kappa hops), states.
RUNS = {
    "mlp on cart-pole": ((), (1, 3, 7, 64)),  # a line of three: 2 + 3 + 2 pairs
    "gcn on cart-pole": (("mixer=gcn", "kappa=2"), (2, 3, 9, 64)),
    "sum on cart-pole": (("mixer=sum", "kappa=0"), (0, 3, 3, 64)),
    "gcn on nav": (("env=nav", "mixer=gcn"), (1, 3, 9, 64)),  # the bases stand so near that all are neighbours
    "pairs on nav": (("env=nav", "partition=pairs"), (1, 2, 6, 64)),
    "mlp on matrix": (("env=matrix",), (1, 3, 9, N_ENVS)),  # episodes of one step
    "sum on matrix": (("env=matrix", "mixer=sum", "partition=full"), (1, 1, 3, N_ENVS)),
    "hypernetworks": (("algo=qmix",), (0, 1, 3, 64)),
    "gcn on sysadmin": (("env=sysadmin", "mixer=gcn", "env.graph=star"), (1, 3, 7, 64)),
    "local state": (("env=sysadmin", "mixer.state=local"), (1, 3, 9, 64)),
    "a memory": (("agent=gru", "agent.last_action=true"), (1, 3, 7, 64)),
    "a target copy": (("learner.target=hard",), (1, 3, 7, 64)),
}
MISTAKES = {
    "one state": ({"states": 1}, "states"),
    "half a state": ({"states": 2.5}, "states"),
    "a negative epsilon": ({"epsilon": -0.1}, "epsilon"),
    "a large epsilon": ({"epsilon": 1.5}, "epsilon"),
    "no tolerance": ({"tolerance": 0}, "tolerance"),
    "no samples": ({"samples": 0}, "samples"),
    "too few episodes": ({"episodes": 7}, "episodes"),
    "no hops": ({"hops": -1}, "hops"),
    "a negative seed": ({"seed": -1}, "seed"),
    "a seed that no generator takes": ({"seed": 2**70}, "seed"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, small, three_agents):
    """Folder of a short run, made when first asked for: ``trained("mixer=gcn")``; nothing may be written there."""
    short = [word for word in small if word != three_agents("cartpole")]
    folders = {}

    def make(*overrides):
        if overrides not in folders:
            env = dict(word.split("=", 1) for word in overrides).get("env", "cartpole")
            words = [three_agents(env), *short, "total_env_steps=80", "evaluation.references=false", *overrides]
            folders[overrides] = tmp_path_factory.mktemp("runs") / "run"
            train(compose(words), folders[overrides], Console(file=io.StringIO()))
        return folders[overrides]

    return make


def checkpoint(folder, name="best"):
    return open_checkpoint(folder / "checkpoints" / f"{name}.ckpt", resume=False)


def damaged(folder):
    """best.ckpt as it is read, with negative weights where the end of a line of carts enters its own block's mixer."""
    stored = checkpoint(folder)
    row = stored.state["state_dict"]["networks.mixer.w1"][0]
    row.copy_(-1 - row.abs())
    return stored


def plain(certificate):
    return json.dumps(certificate.to_json(), allow_nan=False)


# ----------------------------------------------------------------- sound mixers


@pytest.mark.parametrize(("overrides", "counts"), RUNS.values(), ids=RUNS.keys())
def test_best_and_last_checkpoint_of_a_run_are_certified(trained, overrides, counts):
    folder = trained(*overrides)
    for name in ("best", "last"):
        found = certify_checkpoint(checkpoint(folder, name))
        assert found.passed, found.lines()
        assert (found.kappa, found.n_blocks, found.slopes.n_pairs, found.n_states) == counts
        assert found.locality.n_pairs == 3 * found.n_blocks - found.slopes.n_pairs
        assert found.joint.exhaustive  # few joint actions
        assert found.joint.igm_share == 0
        assert len(found.truncation.mean_error) in (0, found.kappa + 1)  # none where no value varies


def test_masked_actions_are_not_tried(trained):
    folder = trained("env=matrix")
    assert certify_checkpoint(checkpoint(folder)).joint.n_joint_actions == 2 * 2 * 1


def test_a_certificate_is_the_same_every_time_and_another_with_another_seed(trained):
    folder = trained()
    stored = checkpoint(folder)
    state = {name: value.clone() for name, value in stored.state["state_dict"].items()}
    first, again, other = (plain(certify_checkpoint(stored, states=8, seed=seed)) for seed in (5, 5, 6))
    assert first == again == plain(certify_checkpoint(checkpoint(folder), states=8, seed=5))
    assert first != other
    assert all(torch.equal(value, stored.state["state_dict"][name]) for name, value in state.items())


def test_the_certificate_of_the_last_checkpoint_is_not_that_of_the_best(trained):
    folder = trained("env=sysadmin")  # learns nothing in so few steps, so the best one is of step 0
    best, last = (checkpoint(folder, name) for name in ("best", "last"))
    assert best.state["lomaq"]["env_steps"] == 0
    assert plain(certify_checkpoint(best)) != plain(certify_checkpoint(last))


# ---------------------------------------------------------------- broken mixers


def test_negative_weights_in_a_projected_mixer_fail(trained):
    folder = trained("mixer.monotonicity=projection")
    assert certify_checkpoint(checkpoint(folder)).passed
    found = certify_checkpoint(damaged(folder))
    assert not found.passed
    assert not found.slopes.passed
    assert found.slopes.n_negative == 2 * 64  # of both ends of the line, which share a network, in themselves
    assert found.slopes.smallest < 0
    assert found.locality.passed
    assert found.to_json()["passed"] is False


def test_negative_weights_mean_nothing_to_a_reparametrised_mixer(trained):
    folder = trained()
    assert certify_checkpoint(damaged(folder)).passed


def test_a_softly_monotone_mixer_fails_where_it_falls(trained):
    folder = trained("mixer.monotonicity=soft")
    assert not certify_checkpoint(damaged(folder)).passed


@pytest.mark.parametrize(
    ("name", "broken"),
    [("mixer.w1", "mixer"), ("utilities.networks.0.head.weight", "networks")],
    ids=["NaN in the mixer", "NaN in the utilities"],
)
def test_a_diverged_checkpoint_never_passes(trained, name, broken):
    folder = trained()
    stored = checkpoint(folder)
    stored.state["state_dict"][f"networks.{name}"].view(-1)[0] = torch.nan
    if broken == "mixer":
        found = certify_checkpoint(stored)
        assert not found.slopes.passed
        assert not found.locality.passed
    else:
        with pytest.raises(NonFiniteLossError, match=r"^the utilities became nan"):
            certify_checkpoint(stored)


@pytest.mark.parametrize("change", ["missing", "shape"])
def test_weights_that_are_not_those_of_the_mixer_are_refused(trained, change):
    folder = trained()
    stored = checkpoint(folder)
    weights = stored.state["state_dict"]
    w1 = weights.pop("networks.mixer.w1")
    if change == "shape":
        weights["networks.mixer.w1"] = w1[1:]
    with pytest.raises(InputError, match=r"^checkpoint: expected the weights of the networks .* got .*best\.ckpt; "):
        certify_checkpoint(stored)


# ---------------------------------------------------------------- exact values


@pytest.mark.parametrize(
    ("overrides", "known"),
    [(("env.n_agents=6",), True), (("env.n_agents=9",), False), (("env.n_agents=3", "agent=gru"), False)],
    ids=["six machines", "nine machines", "a memory"],
)
def test_exact_values_are_examined_for_few_machines_and_no_memory(trained, overrides, known):
    folder = trained("env=sysadmin", *overrides)
    found = certify_checkpoint(checkpoint(folder), states=4)
    assert (found.exact is not None) == known
    assert (found.decay is not None) == known
    assert ([line[:11] for line in found.lines()[-2:]] == ["exact decay", "exact QSM  "]) == known


def test_exact_values_are_those_of_the_greedy_policy(trained):
    folder = trained("env=sysadmin", "partition=[[0,1],[2]]")
    stored = checkpoint(folder, "last")
    run = build_run(stored.config)
    run.module.load_state_dict(stored.state["state_dict"])
    everything = run.make_env(1, 0, torch.device("cpu")).all_states()
    observations = everything.observe()[None]  # [1, S, N, O]
    none, first = torch.full((1, 8, 3), -1), torch.ones(1, 8, dtype=torch.bool)
    values, _ = run.module.networks.utilities(observations, none, first, torch.zeros(8, 3, 0))
    expected = exact_qsm(everything.machines.block_q(values[0].argmax(dim=-1)), Partition([[0, 1], [2]], 3))
    decay = exact_decay(everything.machines.block_q(values[0].argmax(dim=-1)), AgentGraph.ring(3), 2, 0.1)
    found = certify_checkpoint(stored, tolerance=0.1)
    assert (found.exact, found.decay) == (expected, decay)
    assert (expected.n_states, expected.n_joint_actions) == (8, 8)


def test_action_values_of_states_that_are_not_one_of_each_agent_have_no_decay(trained, monkeypatch):
    monkeypatch.setattr(SysAdmin, "agent_states", None)
    found = certify_checkpoint(checkpoint(trained("env=sysadmin", "env.n_agents=6")), states=4)
    assert found.decay is None
    assert found.exact is not None


# --------------------------------------------------------------- visited states


@pytest.mark.parametrize("overrides", [(), ("env=sysadmin",)], ids=["cart-pole", "sysadmin"])
def test_visited_states_are_those_of_real_steps(trained, overrides):
    folder = trained(*overrides)
    run = build_run(checkpoint(folder).config)
    networks = run.module.networks.eval()
    seen = visit(run, 10**6, 0.0, seed=3)
    probe, values = probe_mixer(run, seen)

    env = run.make_env(N_ENVS, FRESH_SEED + 3, torch.device("cpu"))
    env.reset()  # as a collector does before its episodes
    observation = env.reset()
    actor = GreedyActor(networks.utilities)
    actor.reset(env)
    running, expected, ends = torch.ones(N_ENVS, dtype=torch.bool), [], []
    while running.any():
        expected.append(observation[running])
        with torch.no_grad():
            observation, _, terminated, truncated = env.step(actor.act(env, observation))
        running &= ~(terminated | truncated)
        ends.append(int(running.sum()))
    assert torch.equal(probe.observations, torch.cat(expected))  # none twice, none of an ended environment
    assert torch.equal(probe.utilities, values.amax(dim=-1))  # greedy
    assert seen.action_mask is None
    assert overrides or 0 < ends[-2] < N_ENVS  # carts fall at different times


def test_fewer_states_are_drawn_from_the_visited_ones_without_repetition(trained):
    folder = trained()
    run = build_run(checkpoint(folder).config)
    found = [probe_mixer(run, visit(run, states, 0.3, 0)) for states in (10**6, 20, 20)]
    (everything, all_values), (some, values), (others, _) = found
    assert torch.equal(some.observations, others.observations)
    rows = (everything.observations[None] == some.observations[:, None]).all(dim=3).all(dim=2)  # [20, all]
    assert rows.sum(dim=1).tolist() == [1] * 20
    picked = rows.long().argmax(dim=1)
    assert len(picked.unique()) == 20
    assert picked.max() > len(everything.utilities) // 2  # not only the first steps
    assert torch.equal(everything.utilities[picked], some.utilities)
    assert torch.equal(all_values[picked], values)


def test_chosen_actions_are_allowed_ones_whatever_epsilon_is(trained):
    folder = trained("env=matrix")
    run = build_run(checkpoint(folder).config)
    seen = visit(run, 100, 1.0, 0)
    probe, values = probe_mixer(run, seen)
    assert seen.action_mask is not None
    assert seen.action_mask[0].tolist() == [[True, True], [True, True], [True, False]]
    allowed = (values == probe.utilities[..., None]) & seen.action_mask
    assert allowed.any(dim=-1).all()
    assert not torch.equal(probe.utilities, values.masked_fill(~seen.action_mask, -torch.inf).amax(dim=-1))


# --------------------------------------------------------------- actor-critics

CRITICS = {
    "kappa": (("algo=khop_ppo",), (1, 3, 2)),  # kappa, blocks, pairs beyond
    "memories": (("algo=khop_ppo", "agent=gru", "kappa=0"), (0, 3, 6)),
    "independent": (("algo=ippo", "kappa=2"), (0, 3, 6)),  # whatever kappa is
    "one block": (("algo=mappo",), (0, 1, 0)),
    "masks": (("env=matrix", "algo=khop_ppo"), (1, 3, 0)),
}


@pytest.mark.parametrize(("overrides", "counts"), CRITICS.values(), ids=CRITICS.keys())
def test_critics_are_certified_where_agents_ascend_them(trained, overrides, counts):
    stored = checkpoint(trained(*overrides))
    found = certify_checkpoint(stored, episodes=8)
    assert found.passed, found.lines()
    assert (found.kappa, found.n_blocks, found.locality.n_pairs) == counts
    assert [name for name, _, _ in found.checks()] == ["local", "consistent", "truncation", "gradient"]
    assert (found.gradient.n_episodes, found.gradient.kappa) == (8, counts[0])
    assert plain(found) == plain(certify_checkpoint(stored, episodes=8))
    assert plain(found) != plain(certify_checkpoint(stored, episodes=8, seed=1))


def test_critics_of_few_machines_have_the_decay_of_their_most_probable_actions(trained):
    stored = checkpoint(trained("env=sysadmin", "algo=khop_ppo"))
    found, run = certify_checkpoint(stored, episodes=8), stored.run()
    every = run.make_env(1, 0, torch.device("cpu")).all_states()
    none, first = torch.full((1, 8, 3), -1), torch.ones(1, 8, dtype=torch.bool)
    with torch.no_grad():
        logits, _ = run.module.networks.utilities(every.observe()[None], none, first, torch.zeros(8, 3, 0))
    expected = exact_decay(every.machines.block_q(logits[0].argmax(dim=-1)), AgentGraph.ring(3), 2)
    assert found.decay == expected
    assert found.lines()[-1] == f"exact decay       {expected.line()}"


def test_shells_of_advantages_within_kappa_are_what_ppo_ascends(trained):
    stored = checkpoint(trained("algo=khop_ppo"))
    run = stored.run()
    networks, objective = run.module.networks.eval(), run.module.settings.objective
    rollout = visit(run, 2, 0.0, 0).rollout
    batch = Batch(networks, networks, rollout, rollout.rewards, 3.0)
    ascent = objective.ascent(batch)
    near = shells(networks.mixer.graph, run.partition, 1).to_dense().view(2, 3, 3)  # distance, agent, block
    mine = (ascent.advantages @ near.sum(dim=0).T)[rollout.mask]
    targets = objective.targets(batch)
    ascended = targets.advantages[rollout.mask]
    assert torch.allclose((mine - mine.mean()) / mine.std(correction=0), ascended, atol=1e-5)
    assert torch.equal(ascent.log_probs.detach(), targets.log_probs)
    assert torch.allclose(ascent.critic(ascent.seen)[:-1] * 3.0 + ascent.advantages, targets.returns, atol=1e-5)
    ascent.log_probs.sum().backward()
    assert all(parameter.grad is not None for parameter in networks.utilities.parameters())
    assert all(parameter.grad is None for parameter in networks.critic.parameters())


def test_a_critic_that_leaks_fails(trained, monkeypatch):
    stored = checkpoint(trained("algo=khop_ppo"))
    sound = PPO.ascent

    def leaking(objective, batch):
        ascent = sound(objective, batch)
        return ascent._replace(critic=lambda seen: ascent.critic(seen) + seen.mean(dim=(-2, -1))[..., None])

    monkeypatch.setattr(PPO, "ascent", leaking)
    found = certify_checkpoint(stored, episodes=8)
    assert (found.passed, found.locality.passed, found.consistency.passed) == (False, False, True)


def test_a_mixer_of_critics_is_examined_at_the_critics_values(trained):
    stored = checkpoint(trained("algo=loc_facmac"))
    assert certify_checkpoint(stored).passed
    run = stored.run()
    networks = run.module.networks.eval()
    seen = visit(run, 64, 0.3, 0)
    probe, values = probe_mixer(run, seen)
    with torch.no_grad():
        critics = networks.critic(networks.utilities.scaled(probe.observations))  # no memory
    assert torch.allclose(values, critics, atol=1e-6)
    assert torch.equal(probe.utilities, gather_actions(values, seen.pick(seen.rollout.actions)))
    assert not torch.allclose(values, seen.pick(networks.unroll(seen.rollout)))  # nor the policies' logits


def test_states_are_visited_as_the_policies_draw(trained):
    run = checkpoint(trained("algo=khop_ppo")).run()
    seen = visit(run, 10**6, 0.0, 0)
    with torch.no_grad():
        logits = run.module.networks.unroll(seen.rollout, seen.rollout.n_steps)
    share = seen.pick((logits.argmax(dim=-1) == seen.rollout.actions).float()).mean()
    assert 0.2 < share < 0.8  # hardly trained: not the most probable action each time


@pytest.mark.parametrize(
    ("algo", "instead"),
    [("coma", None), ("khop_ppo", lambda utilities, observations: utilities)],
    ids=["no critics of blocks", "a mixer in place of none"],
)
def test_without_a_mixer_or_critics_to_ascend_nothing_is_examined(trained, algo, instead):
    stored = checkpoint(trained(f"algo={algo}"))
    with pytest.raises(InputError, match=r"^checkpoint: expected values that a mixer makes .* whose values no mixer "):
        certify_checkpoint(stored, instead)


# -------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(("numbers", "name"), MISTAKES.values(), ids=MISTAKES.keys())
def test_impossible_numbers_are_refused_by_name(trained, numbers, name):
    folder = trained()
    with pytest.raises(InputError, match=f"^{name}: expected "):
        certify_checkpoint(checkpoint(folder), **numbers)


@pytest.mark.parametrize("name", ["algo=oracle", "algo=random"])
def test_a_run_in_which_nothing_is_learned_has_no_checkpoint(run_small, name):
    folder, _ = run_small("run", "env=sysadmin", name)
    with pytest.raises(InputError, match=r"^checkpoint: expected a checkpoint file or a run folder with best\.ckpt"):
        open_checkpoint(folder, resume=False)
