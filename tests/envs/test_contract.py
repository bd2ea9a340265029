"""Faulty environments: each ends in one line that names the class, never in a traceback from deep inside."""

import io
import re
from typing import NamedTuple

import networkx as nx
import numpy as np
import pytest
import torch
from rich.console import Console

from lomaq import AgentGraph, InputError
from lomaq.config import compose
from lomaq.envs import BatchedEnv
from lomaq.envs.contract import random_actions
from lomaq.errors import EnvError
from lomaq.plots.run import train
from lomaq.testing import EnvCheckError, check_env, checks
from lomaq.testing.checks import CHECKS

N, A, O = 3, 2, 2  # noqa: E741
OFTEN = 12  # steps into an episode


class Sound(BatchedEnv):
    """Three agents on a line, each with a number that its action raises; nothing is wrong with it."""

    state_names = ("level",)

    def __init__(self, *, n_envs=1, seed=0, device="cpu", **sizes):
        given = {"n_actions": A, "obs_size": O, "max_steps": 40, **sizes}
        super().__init__(AgentGraph.line(N), n_envs=n_envs, seed=seed, device=device, **given)
        self.level = torch.zeros(n_envs, N)

    def _reset_state(self, rows):
        self.level[rows] = self.uniform(len(rows), N, low=0, high=1)

    def _advance(self, actions):
        rewards = self.level.clone()
        self.level = 0.9 * self.level + 0.1 * actions
        return rewards, torch.zeros(self.n_envs, dtype=torch.bool)

    def observe(self):
        return torch.stack([self.level, self.level.square()], dim=-1)


class Fault(NamedTuple):
    """A faulty class, and what is said: by training (None: nothing, it is harmless there) and by the examination."""

    env: type
    trained: str | None
    found: str


FAULTS: dict[str, Fault] = {}


def fault(trained, found=None):
    """Register a class; without ``found``, the examination says the same as training."""

    def register(cls):
        FAULTS[cls.__name__] = Fault(cls, trained, found or trained)
        globals()[cls.__name__] = cls  # where a configuration finds those that a function makes
        return cls

    return register


def observing(name, said, change):
    """A class whose observation is what ``change`` makes of a sound one."""
    methods = {"observe": lambda self: change(self, Sound.observe(self)), "__module__": __name__}
    fault(rf"observe\(\) of \S+\.{name}: expected a tensor \[B, N, O\] = \[\d, 3, 2\] of float32 on cpu, got {said}")(
        type(name, (Sound,), methods)
    )


observing("ObservesNone", "None", lambda self, seen: None)
observing("ObservesNumPy", r"a NumPy array \[\d, 3, 2\] of float32; torch\.from_numpy", lambda self, seen: seen.numpy())
observing("ObservesDoubles", r"\[\d, 3, 2\] of float64 on cpu; use \.float", lambda self, seen: seen.double())
observing("ObservesIntegers", r"\[\d, 3, 2\] of int64 on cpu; use \.float", lambda self, seen: seen.long())
observing("ObservesHalves", r"\[\d, 3, 2\] of float16", lambda self, seen: seen.half())
observing("ObservesTooMuch", r"\[\d, 3, 4\] of float32", lambda self, seen: seen.repeat(1, 1, 2))
observing("ObservesOneEnvironment", r"\[1, 3, 2\] of float32", lambda self, seen: seen[:1])
observing("ObservesFlat", r"\[\d, 6\] of float32", lambda self, seen: seen.flatten(1))
observing("ObservesSparse", r".*sparse; use \.to_dense", lambda self, seen: seen.to_sparse())
observing("ObservesGradients", r".*with gradients; use \.detach", lambda self, seen: seen.requires_grad_())
observing("ObservesElsewhere", r".* on meta; make tensors with device=self\.device", lambda self, seen: seen.to("meta"))
observing("ObservesAndTells", "2 values", lambda self, seen: (seen, {}))
observing("ObservesLists", r"\d values", lambda self, seen: seen.tolist())
observing(
    "ObservesMoreLater", r"\[\d, 4, 2\]", lambda self, seen: seen if self.time.max() < OFTEN else seen[:, [0, 0, 1, 2]]
)
observing(
    "ObservesDoublesLater",
    r"\[\d, 3, 2\] of float64",
    lambda self, seen: seen.double() if self.time.max() > OFTEN else seen,
)


def paying(name, said, change):
    """A class whose ``_advance`` returns what ``change`` makes of sound rewards and ends."""
    methods = {"_advance": lambda self, actions: change(self, *Sound._advance(self, actions)), "__module__": __name__}
    fault(said)(type(name, (Sound,), methods))


REWARD = r"reward of _advance of \S+: expected a tensor \[B, N\] = \[\d, 3\] of float32 on cpu, got "
ENDS = r"terminated of _advance of \S+: expected a tensor \[B\] = \[\d\] of bool on cpu, got "
TWO = r"_advance: expected two values, rewards \[B, N\] and terminated \[B\], or three, with truncated \[B\], got "
paying("PaysNothing", REWARD + "None", lambda self, rewards, ends: (None, ends))
paying("PaysANumber", REWARD + "float 1.5; return a tensor", lambda self, rewards, ends: (1.5, ends))
paying("PaysDoubles", REWARD + r"\[\d, 3\] of float64 on cpu; use \.float", lambda self, r, ends: (r.double(), ends))
paying("PaysTheTeam", REWARD + r"\[\d\] of float32", lambda self, rewards, ends: (rewards.sum(dim=1), ends))
paying("PaysAcross", REWARD + r"\[3, \d\] of float32.*in this order", lambda self, r, ends: (r.T, ends))
paying("PaysNumPy", REWARD + r"a NumPy array", lambda self, rewards, ends: (rewards.numpy(), ends))
paying("EndsInIntegers", ENDS + r"\[\d\] of int64 on cpu; use \.bool", lambda self, r, ends: (r, ends.long()))
paying("EndsInFloats", ENDS + r"\[\d\] of float32 on cpu; use \.bool", lambda self, r, ends: (r, ends.float()))
paying("EndsOnce", ENDS + "bool False", lambda self, rewards, ends: (rewards, False))
paying("EndsInColumns", ENDS + r"\[\d, 1\] of bool", lambda self, rewards, ends: (rewards, ends[:, None]))
paying("EndsNever", ENDS + "None", lambda self, rewards, ends: (rewards, None))
paying("AnswersAsGymnasium", TWO + "5 values", lambda self, r, ends: (self.observe(), r, ends, ends, {}))
paying("AnswersThree", r"truncated of _advance of .*: expected a tensor \[B\]", lambda self, r, ends: (r, ends, {}))
paying("AnswersRewards", TWO + r"one tensor \[\d, 3\]", lambda self, rewards, ends: rewards)
paying("AnswersNothing", TWO + "None", lambda self, rewards, ends: None)
paying(
    "PaysNaNLater",
    r"reward of \S+: expected finite numbers, got nan \(environment 1, agent 2, step \d+ of ",
    lambda self, rewards, ends: (
        rewards.index_put((torch.tensor(1), torch.tensor(2)), torch.tensor(torch.nan))
        if self.time.max() > OFTEN
        else rewards,
        ends,
    ),
)


@fault(r"_advance: expected two values, .* got a generator \(yield in place of return\)")
class Yields(Sound):
    def _advance(self, actions):
        yield super()._advance(actions)


@fault(r"observation of \S+: expected finite numbers, got inf \(environment 0, agent 1, number 1, step \d+ of")
class ObservesInfinity(Sound):
    def observe(self):
        seen = super().observe()
        seen[0, 1, 1] = torch.inf
        return seen


@fault(r"\.Raises\._advance: expected no exception, got ZeroDivisionError: \S.*test_contract\.py:\d+\) in step")
class Raises(Sound):
    def _advance(self, actions):
        return super()._advance(actions) if int(self.time.max()) < OFTEN else 1 / 0


@fault(r"_advance: expected no exception, got StopIteration: .*test_contract\.py:\d+")
class RaisesStopIteration(Sound):
    def _advance(self, actions):
        return next(iter(()))


@fault(r"_advance: expected no exception, got IndexError: .*test_contract\.py:\d+")
class HasNotAllActions(Sound):
    def _advance(self, actions):
        return torch.tensor([0.5])[actions], torch.zeros(self.n_envs, dtype=torch.bool)


@fault(r"_reset_state: expected no exception, got RuntimeError: .*test_contract\.py:\d+\) at a reset")
class CannotReset(Sound):
    def _reset_state(self, rows):
        self.level[rows] = torch.zeros(7, 7)


@fault(r"observe: expected no exception, got AttributeError: .*nothing.*test_contract\.py:\d+\) after a reset")
class CannotObserve(Sound):
    def observe(self):
        return self.nothing


def masking(name, said, change):
    """A class whose mask is what ``change`` makes of one that allows everything."""
    methods = {
        "action_mask": lambda self: change(self, torch.ones(self.n_envs, N, A, dtype=torch.bool)),
        "__module__": __name__,
    }
    fault(said)(type(name, (Sound,), methods))


MASK = r"action_mask\(\) of \S+: expected a tensor \[B, N, A\] = \[\d, 3, 2\] of bool on cpu, got "
masking("MasksInFloats", MASK + r"\[\d, 3, 2\] of float32 on cpu; use \.bool", lambda self, mask: mask.float())
masking("MasksForAll", MASK + r"\[3, 2\] of bool", lambda self, mask: mask[0])
masking("MasksNumPy", MASK + r"a NumPy array", lambda self, mask: mask.numpy())
masking(
    "AllowsNothing",
    r"action mask of \S+: expected at least one allowed action for every agent, got none \(environment 0, agent 0\)",
    lambda self, mask: ~mask,
)
masking(
    "AllowsNothingLater",
    r"action mask of \S+: expected at least one allowed action .* got none \(environment 0, agent 0",
    lambda self, mask: mask & (self.time < OFTEN)[:, None, None],
)
masking(
    "MasksSometimes",
    r"action_mask: expected a mask at every step, or None at every step, got None after a mask",
    lambda self, mask: mask if int(self.time.max()) < OFTEN else None,
)


@fault(r"action_mask: expected no exception, got TypeError: 'Tensor' object is not callable")
class HasAMask(Sound):
    def __init__(self, **given):
        super().__init__(**given)
        self.action_mask = torch.ones(self.n_envs, N, A, dtype=torch.bool)


@fault(r"ForgetsItsBase\.__init__: expected a call of super\(\)\.__init__\(graph, n_envs=…", r"super\(\)\.__init__")
class ForgetsItsBase(Sound):
    def __init__(self, *, n_envs=1, seed=0, device="cpu"):
        self.level = torch.zeros(n_envs, N)


@fault(
    r"AddsWords\.__init__: expected no exception, got TypeError: .*test_contract\.py:\d+",
    r"TypeError: .*test_contract\.py:\d+\)",
)
class AddsWords(Sound):
    def __init__(self, **given):
        super().__init__(**given)
        self.level = "1" + 1


@fault(r"LooksUp\.__init__: expected no exception, got KeyError: 'x' \(\S*test_contract\.py:\d+", r"KeyError: 'x'")
class LooksUp(Sound):
    def __init__(self, **given):
        super().__init__(**given)
        self.level = {}["x"]


@fault(r"Unfinished\.__init__: expected no exception, got TypeError: Can't instantiate", r"Can't instantiate")
class Unfinished(BatchedEnv):
    def __init__(self, *, n_envs=1, seed=0, device="cpu"):
        sizes = {"n_actions": A, "obs_size": O, "max_steps": 40}
        super().__init__(AgentGraph.line(N), n_envs=n_envs, seed=seed, device=device, **sizes)


@fault(r"TakesNoSeed: expected arguments it takes, got .*; got an unexpected keyword argument", r"unexpected keyword")
class TakesNoSeed(Sound):
    def __init__(self, n_envs=1):
        super().__init__(n_envs=n_envs)


def sized(name, said, **sizes):
    """A class that gives its base other sizes."""
    methods = {"__init__": lambda self, **given: Sound.__init__(self, **given, **sizes), "__module__": __name__}
    fault(said)(type(name, (Sound,), methods))


sized("HasNoActions", r"n_actions of \S+HasNoActions: expected a whole number of at least 1, got 0", n_actions=0)
sized("ObservesNoNumbers", r"obs_size of \S+: expected a whole number of at least 1, got 0", obs_size=0)
sized("ObservesAShape", r"obs_size of \S+: expected a whole number of at least 1, got \(2,\)", obs_size=(2,))
sized("NeverBegins", r"env\.max_steps: expected a whole number of at least 1, got 0", max_steps=0)


@fault(r"graph of \S+OnNetworkX: expected a lomaq\.AgentGraph, got Graph .*; AgentGraph\.from_edges")
class OnNetworkX(Sound):
    def __init__(self, *, n_envs=1, seed=0, device="cpu"):
        sizes = {"n_actions": A, "obs_size": O, "max_steps": 40}
        BatchedEnv.__init__(self, nx.path_graph(3), n_envs=n_envs, seed=seed, device=device, **sizes)


@fault(r"graph of \S+Grows: expected the 3 agents of before, got 4; give the final graph")
class Grows(Sound):
    def __init__(self, **given):
        super().__init__(**given)
        assert self.n_agents == N
        self.graph = AgentGraph.line(N + 1)


@fault(r"observe\(\) of \S+OnALongerLine: expected .* = \[\d, 4, 2\] of float32 on cpu, got \[\d, 3, 2\]")
class OnALongerLine(Sound):
    def __init__(self, *, n_envs=1, seed=0, device="cpu"):
        sizes = {"n_actions": A, "obs_size": O, "max_steps": 40}
        BatchedEnv.__init__(self, AgentGraph.line(4), n_envs=n_envs, seed=seed, device=device, **sizes)
        self.level = torch.zeros(n_envs, N)


@fault(r"n_envs of \S+MakesFour: expected the \d that were asked for, got 4; pass the n_envs")
class MakesFour(Sound):
    def __init__(self, *, n_envs=1, seed=0, device="cpu"):
        super().__init__(n_envs=4, seed=seed, device=device)


@fault(r"state_names of \S+NamesLetters: expected a tuple of names, got 'level'; state_names = \(\"position\",\)")
class NamesLetters(Sound):
    state_names = "level"


@fault(r"state_names of \S+NamesTooMuch: expected tensors .* got no such attribute for 'speed'; set self\.speed")
class NamesTooMuch(Sound):
    state_names = ("level", "speed")


@fault(r"state_names of \S+NamesAnArray: expected tensors .* got a NumPy array .* for 'array'")
class NamesAnArray(Sound):
    state_names = ("level", "array")
    array = np.zeros(3)


@fault(r"generator of \S+DrawsAnew: expected the one of super\(\)\.__init__, got another one")
class DrawsAnew(Sound):
    def _reset_state(self, rows):
        self.generator = torch.Generator().manual_seed(0)
        super()._reset_state(rows)


@fault(r"generator of \S+DrawsByNumPy: expected a torch\.Generator on cpu, got Generator")
class DrawsByNumPy(Sound):
    def __init__(self, **given):
        super().__init__(**given)
        self.generator = np.random.default_rng(0)


@fault(r"time of \S+CountsTwice: expected a time step that the class leaves alone, got a changed one")
class CountsTwice(Sound):
    def _advance(self, actions):
        self.time += 1
        return super()._advance(actions)


@fault(
    r"time of \S+BeginsAnewByItself: expected the end of all episodes after max_steps = 40", r"goes on after max_steps"
)
class BeginsAnewByItself(Sound):
    def _advance(self, actions):
        self.time[self.time > OFTEN] = 0
        return super()._advance(actions)


@fault(r"reward of \S+PaysNaNAfterItsEnd: expected finite .*also between the end of an episode and the reset")
class PaysNaNAfterItsEnd(Sound):
    def _advance(self, actions):
        rewards, _ = super()._advance(actions)
        over = self.level > 2
        self.level = torch.full_like(self.level, 3.0)
        return rewards.masked_fill(over, torch.nan), torch.ones(self.n_envs, dtype=torch.bool)


# ------------------------------- what trains, and is found by the examination only


@fault(None, r"reset of one: a reset of one environment changes what another one observes; change the given rows")
class ResetsAll(Sound):
    def _reset_state(self, rows):
        self.level = self.uniform(self.n_envs, N, low=0, high=1)


@fault(None, r"reset of one: a reset of one environment changes hidden of another one")
class ResetsAllThatIsHidden(Sound):
    state_names = ("level", "hidden")
    hidden = torch.zeros(1)

    def _reset_state(self, rows):
        super()._reset_state(rows)
        self.hidden = self.uniform(self.n_envs, 3, low=0, high=1)


@fault(None, r"seeds: one seed gives two starts; draw with self\.uniform")
class DrawsGlobally(Sound):
    def _reset_state(self, rows):
        self.level[rows] = torch.rand(len(rows), N)


@fault(None, r"seeds: one seed gives another observation 1 steps later")
class DrawsGloballyLater(Sound):
    def _advance(self, actions):
        rewards, ends = super()._advance(actions)
        self.level += 0.01 * torch.from_numpy(np.random.rand(self.n_envs, N)).float()
        return rewards, ends


@fault(None, r"tensors: a step changes the tensor of observe\(\) of the step before; return a new tensor")
class ReusesItsObservation(Sound):
    buffer = None

    def observe(self):
        seen = super().observe()
        self.buffer = seen if self.buffer is None else self.buffer.copy_(seen)
        return self.buffer


@fault(None, r"tensors: a step changes the tensor of the rewards of the step before")
class ReusesItsRewards(Sound):
    buffer = None

    def _advance(self, actions):
        rewards, ends = super()._advance(actions)
        self.buffer = rewards if self.buffer is None else self.buffer.copy_(rewards)
        return self.buffer, ends


@fault(None, r"tensors: a step changes the tensor of action_mask\(\) of the step before")
class ReusesItsMask(Sound):
    buffer = None

    def action_mask(self):
        mask = ((self.level * 20).long() % 2 == 0)[..., None] | torch.tensor([True, False])
        self.buffer = mask if self.buffer is None else self.buffer.copy_(mask)
        return self.buffer


@fault(None, r"tensors: _advance changes the actions that it is given; work on actions\.clone")
class ChangesActions(Sound):
    def _advance(self, actions):
        actions += 1
        return super()._advance(actions)


@fault(None, r"state_dict: loaded into a new environment, state_dict\(\) shows another observation; name every tensor")
class NamesNoState(Sound):
    state_names = ()


@fault(None, r"state_dict: loaded into one that played, state_dict\(\) goes on differently after \d+ steps")
class NamesNotAll(Sound):
    def _reset_state(self, rows):
        super()._reset_state(rows)
        self.pace = self.uniform(self.n_envs, N, low=0, high=1) if not hasattr(self, "pace") else self.pace
        self.count = 0

    def _advance(self, actions):
        self.count += 1
        rewards, ends = super()._advance(actions)
        return rewards + self.count, ends


@fault(None, r"state_dict: a step changes a state_dict\(\) that was taken before; state_dict\(\) holds copies")
class ShowsItsState(Sound):
    def _advance(self, actions):
        rewards, ends = super()._advance(actions)
        self.total = getattr(self, "total", torch.zeros(1)).add_(1)
        return rewards, ends

    def state_dict(self):
        return {**super().state_dict(), "total": getattr(self, "total", torch.zeros(1))}


@fault(None, r"state of another size: a state of another number of environments is loaded; call super")
class LoadsAnything(Sound):
    def load_state_dict(self, state):
        self.level, self.time = state["level"].clone(), state["time"].clone()
        self.generator.set_state(state["generator"])


@fault(None, r"acting in one: actions in one environment change another one; keep the environments")
class MixesEnvironments(Sound):
    def _advance(self, actions):
        rewards, ends = super()._advance(actions)
        return rewards + actions.float().mean(), ends


@fault(None, r"rewards: a return of \S+ exceeds best_return = 0\.5; correct best_return")
class PromisesLess(Sound):
    def __init__(self, **given):
        super().__init__(**given)
        self.best_return = 0.5


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(checks, "SECONDS", 0.0)


@pytest.fixture(scope="module")
def sound_config():
    """A small training of ``Sound``: two tests of two episodes, three rollouts."""
    words = "learner.n_envs=2 learner.rollout_steps=20 learner.minibatches=2 evaluation.episodes=2 total_env_steps=100"
    config = compose(["env=cartpole", *words.split(), "evaluation.every_env_steps=1000", "evaluation.references=false"])
    return {**config, "agent": {**config["agent"], "observation_scale": None}, "env": {"name": "sound"}}


def train_with(config, env, folder):
    node = {**config["env"], "_target_": f"{env.__module__}.{env.__qualname__}"}
    return train({**config, "env": node}, folder, Console(file=io.StringIO()))


def test_there_are_many_faults():
    assert len(FAULTS) >= 60


def test_a_sound_environment_trains_and_passes(sound_config, tmp_path):
    assert train_with(sound_config, Sound, tmp_path / "run")["env_steps"] >= 100
    report = check_env(Sound)
    assert {check.status for check in report.checks} == {"passed"}
    assert [check.name for check in report.checks] == list(CHECKS)


@pytest.mark.parametrize("name", FAULTS)
def test_training_with_a_faulty_environment_ends_in_one_line(sound_config, tmp_path, name):
    env, trained, _ = FAULTS[name]
    if trained is None:
        train_with(sound_config, env, tmp_path / "run")
        return
    with pytest.raises(InputError) as refused:
        train_with(sound_config, env, tmp_path / "run")
    assert re.search(trained, str(refused.value)), refused.value
    assert "\n" not in str(refused.value)
    assert env.__qualname__ in str(refused.value) or "env." in str(refused.value)


@pytest.mark.parametrize("name", FAULTS)
def test_the_examination_finds_what_is_wrong(name):
    env, _, found = FAULTS[name]
    with pytest.raises(EnvCheckError) as refused:
        check_env(env)
    assert re.search(found, str(refused.value)), refused.value
    assert all(check.found for check in refused.value.report.checks)


def test_what_is_wrong_at_once_is_refused_before_anything_is_written(sound_config, tmp_path):
    with pytest.raises(EnvError):
        train_with(sound_config, FAULTS["EndsInIntegers"].env, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_environment_that_ends_at_every_step_trains(sound_config, tmp_path):
    assert train_with(sound_config, EndsAtOnce, tmp_path / "run")["env_steps"] >= 100
    check_env(EndsAtOnce)


class EndsAtOnce(Sound):
    def _advance(self, actions):
        return super()._advance(actions)[0], torch.ones(self.n_envs, dtype=torch.bool)


def test_episodes_of_a_class_that_reuses_its_tensors_keep_their_steps():
    act = lambda env, seen: torch.ones(1, N, dtype=torch.int64)  # noqa: E731
    for name in ("ReusesItsObservation", "ReusesItsRewards", "ChangesActions"):
        sound, reused = (list(cls(seed=1).episode(act)) for cls in (Sound, FAULTS[name].env))
        if name != "ChangesActions":
            assert all(torch.equal(a.observation, b.observation) for a, b in zip(sound, reused, strict=True))
            assert all(torch.equal(a.rewards, b.rewards) for a, b in zip(sound, reused, strict=True))
        assert all(torch.equal(step.actions, torch.ones(1, N, dtype=torch.int64)) for step in reused)


def test_messages_call_agents_by_their_names():
    class Named(Sound):
        def __init__(self, **given):
            super().__init__(**given)
            self.graph.names = ["A11", "A12", "A13"]

        def action_mask(self):
            mask = torch.ones(self.n_envs, N, A, dtype=torch.bool)
            mask[:, 1] = self.time[:, None] < 3
            return mask

    with pytest.raises(EnvError, match=r"got none \(environment 0, agent 1 \(node 'A12'\)\)"):
        for _ in Named().episode(lambda env, _: random_actions(env, env.generator)):
            pass
