"""The checks of an environment: each takes what makes it and a number of environments, and tells what it found."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lomaq.envs import BatchedEnv, contract
from lomaq.envs.influence import measure_influence
from lomaq.errors import EnvError, InputError

#: Makes ``n_envs`` parallel environments: (n_envs, seed, device).
Make = Callable[[int, int, torch.device], BatchedEnv]
#: Most steps of the episode that is played, steps of each comparison, and most agents whose influence is measured.
LONG, SHORT, MOST_AGENTS = 500, 12, 16
#: Parallel environments of the speeds, and the seconds that each is measured for.
SPEEDS, SECONDS = (1, 1024), 0.15
_CPU = torch.device("cpu")


class Failure(Exception):
    """What was found, and the remedy."""


class Warned(Failure):
    """The same, where it need not be wrong."""


def made(make: Make, n_envs: int, seed: int = 0) -> BatchedEnv:
    """``n_envs`` environments, made, but not reset.

    Raises:
        EnvError: If the constructor raises, or does not leave what it must.
    """
    try:
        env = make(n_envs, seed, _CPU)
    except InputError:
        raise
    except Exception as error:
        raise EnvError("the constructor", "no exception", contract.described(error)) from error
    if not isinstance(env, BatchedEnv):
        raise EnvError("the environment", "a BatchedEnv", type(env).__name__, "derive the class from it")
    contract.check_made(env, n_envs, _CPU)
    return env


class _Player:
    """Plays an environment with random allowed actions from a seed.

    Args:
        env: The environment.
        seed: Seed of the actions.
        start: Whether it is reset first.
        again: Whether what ended is reset before the next step.

    Attributes:
        seen: Observation, mask or None, after the last reset or step; copies.
    """

    def __init__(self, env: BatchedEnv, seed: int = 0, *, start: bool = True, again: bool = True) -> None:
        self.env, self.again, self.generator = env, again, torch.Generator().manual_seed(seed)
        self.ended = torch.zeros(env.n_envs, dtype=torch.bool)
        if start:
            env.reset()
        self.seen = _seen(env)

    def actions(self) -> Tensor:
        return contract.random_actions(self.env, self.generator)

    def step(self, actions: Tensor | None = None) -> tuple[Tensor, ...]:
        """Copies of observation, mask, rewards, terminated and truncated after a step."""
        if self.again and bool(self.ended.any()):
            self.env.reset(self.ended)
        _, *rest = self.env.step(self.actions() if actions is None else actions)
        rewards, terminated, truncated = (x.clone() for x in rest)
        self.ended, self.seen = terminated | truncated, _seen(self.env)
        for kind, values in (("observation", self.seen[0]), ("reward", rewards)):
            contract.check_numbers(self.env, kind, values, int(self.env.time.max()))
        return *self.seen, rewards, terminated, truncated


def _seen(env: BatchedEnv) -> tuple[Tensor, Tensor]:
    """Copies of the observation and of the action mask (all true without one)."""
    mask = env.allowed()
    observation = env._observed().clone()
    if mask is None:
        return observation, torch.ones(env.n_envs, env.n_agents, env.n_actions, dtype=torch.bool)
    contract.check_choices(mask, f"action mask of {contract.title(env)}", EnvError, name_of=env.graph.name_of)
    return observation, mask.clone()


def _same(one: tuple[Tensor, ...], two: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def _same_story(one: _Player, two: _Player, steps: int = SHORT) -> str | None:
    """What differs first when both play on."""
    names = ("observation", "action mask", "reward", "terminated", "truncated")
    for t in range(1, steps + 1):
        for name, a, b in zip(names, one.step(), two.step(), strict=True):
            if not torch.equal(a, b):
                return f"another {name} {t} steps later"
    return None


# ---------------------------------------------------------------- the checks


def _constructor(make: Make, n_envs: int) -> str:
    env = made(make, n_envs)
    return f"{env.n_agents} agents, {env.graph.n_edges} edges, {env.n_actions} actions, {env.obs_size} observed numbers"


def _one_graph(make: Make, n_envs: int) -> str:
    contract.check_same_graph(made(make, n_envs), made(make, n_envs + 1, seed=1), 1)
    return "the same for every seed and number of environments"


def _shapes(make: Make, n_envs: int) -> str:
    env = made(make, n_envs)
    contract.rehearse(env)
    return (
        f"those of the contract in {contract.REHEARSED} steps, {'no' if env.allowed() is None else 'with'} action masks"
    )


def _episode(make: Make, n_envs: int) -> str:
    """Finite numbers, shapes and masks along an episode, and the time limit."""
    env = made(make, n_envs)
    player, steps = _Player(env, again=False), min(LONG, env.max_steps)
    ended = torch.zeros(n_envs, dtype=torch.bool)
    for _ in range(steps):
        player.step()
        ended |= player.ended
    env.reset()
    env.time.fill_(env.max_steps - 1)
    *_, terminated, truncated = env.step(player.actions())
    if not bool((terminated | truncated).all()) or (steps == env.max_steps and not bool(ended.all())):
        found = f"an episode goes on after max_steps = {env.max_steps}"
        raise Failure(found, "leave step() and self.time to the base class")
    if bool((terminated & truncated).any()):
        raise Failure("a step is both terminated and truncated", "leave step() to the base class")
    return f"played for {steps}, also after its end; truncated at {env.max_steps}"


def _every_action(make: Make, n_envs: int) -> str:
    player = _Player(made(make, n_envs))
    agents, allowed = torch.arange(player.env.n_agents), list[Tensor]()
    for action in range(player.env.n_actions):
        wanted = (agents + action).remainder(player.env.n_actions).expand(n_envs, -1)
        possible = player.seen[1].gather(-1, wanted[..., None])[..., 0]
        allowed.append(player.seen[1].float().mean())
        player.step(torch.where(possible, wanted, player.actions()))
    share = float(torch.stack(allowed).mean())
    return f"{share:.0%} of the actions allowed, some for every agent; each taken by each agent where it is allowed"


def _seeds(make: Make, n_envs: int) -> str:
    players = []
    for other in (0, 1):  # of the process, which must not matter
        for seed in (torch.manual_seed, random.seed, np.random.seed):
            seed(other)
        players.append(_Player(made(make, n_envs, seed=3)))
    remedy = "draw with self.uniform(…) or generator=self.generator"
    if not _same(players[0].seen, players[1].seen):
        raise Failure("one seed gives two starts", remedy)
    # they play on in turns, and so draw different numbers from a generator of the process
    if (found := _same_story(players[0], players[1])) is not None:
        raise Failure(f"one seed gives {found}", remedy)
    return f"one seed, one episode, over {SHORT} steps"


def _reset_of_one(make: Make, n_envs: int) -> str:
    env = made(make, n_envs)
    player = _Player(env)
    for _ in range(3):
        player.step()
    before, state = _seen(env), env.state_dict()
    if not _same(before, _seen(env)):
        raise Warned("observe() or action_mask() called twice gives two answers", "draw noise in _advance")
    only = torch.arange(n_envs) == 1
    env.reset(only)
    remedy = "change the given rows only, self.position[rows] = …"
    if not all(torch.equal(a[~only], b[~only]) for a, b in zip(before, _seen(env), strict=True)):
        raise Failure("a reset of one environment changes what another one observes", remedy)
    for name, value in env.state_dict().items():
        axes = [axis for axis, size in enumerate(value.shape) if size == n_envs and name != "generator"]
        rows = [value, state[name]] if len(axes) == 1 else []
        kept = [x.movedim(axes[0], 0)[~only] for x in rows]
        if kept and not torch.equal(*kept):
            raise Failure(f"a reset of one environment changes {name} of another one", remedy)
    if int(env.time[1]) != 0:
        raise Failure("a reset leaves the time step", "leave reset() to the base class")
    return "leaves the others as they are"


def _acting_in_one(make: Make, n_envs: int) -> str:
    pair = [made(make, n_envs, seed=5) for _ in range(2)]
    players = [_Player(env) for env in pair]
    compared = 0
    for _ in range(SHORT):
        actions = players[0].actions()
        other = actions.clone()
        shifted = (actions[0] + 1).remainder(pair[0].n_actions)
        possible = players[0].seen[1][0].gather(-1, shifted[:, None])[:, 0]
        other[0] = torch.where(possible, shifted, actions[0])
        one, two = players[0].step(actions), players[1].step(other)
        if not torch.equal(pair[0].generator.get_state(), pair[1].generator.get_state()):
            return f"what is drawn depends on the actions: compared over {compared} steps only"
        compared += 1
        if not all(torch.equal(a[1:], b[1:]) for a, b in zip(one, two, strict=True)):
            raise Failure("actions in one environment change another one", "keep the environments, axis B, apart")
        if not torch.equal(players[0].ended, players[1].ended):
            break
    return f"leaves the others as they are, over {compared} steps"


def _state(make: Make, n_envs: int) -> str:
    env = made(make, n_envs)
    if not env.resumable:
        return "does not hold everything (resumable = False): a resumed run begins new episodes"
    player = _Player(env)
    for _ in range(4):
        player.step()
    env.reset()
    state, before = env.state_dict(), _seen(env)
    kept = {name: value.clone() for name, value in state.items() if isinstance(value, Tensor)}
    remedy = "name every tensor that decides the future in state_names, and recompute in load_state_dict what follows"
    file = io.BytesIO()
    try:
        torch.save(state, file)
        file.seek(0)
        torch.load(file, weights_only=True)
    except Exception as error:
        found = f"state_dict() cannot be stored: {contract.described(error)}"
        raise Failure(found, "tensors and numbers only") from error
    story = _told(_Player(env, 9, start=False))
    if not all(torch.equal(state[name], value) for name, value in kept.items()):
        raise Failure("a step changes a state_dict() that was taken before", "state_dict() holds copies: .clone()")
    fresh, used = made(make, n_envs, seed=8), made(make, n_envs, seed=9)
    fresh.reset()
    _Player(used).step()
    for where, into in (("a new environment", fresh), ("one that played", used), ("the same one", env)):
        into.load_state_dict(state)
        if not _same(before, _seen(into)):
            raise Failure(f"loaded into {where}, state_dict() shows another observation", remedy)
        for t, (one, two) in enumerate(zip(story, _told(_Player(into, 9, start=False)), strict=True), 1):
            if not _same(one, two):
                raise Failure(f"loaded into {where}, state_dict() goes on differently after {t} steps", remedy)
    return "goes on identically in a new environment, in one that played, and in itself"


def _told(player: _Player) -> list[tuple[Tensor, ...]]:
    return [player.step() for _ in range(SHORT)]


def _other_size(make: Make, n_envs: int) -> str:
    env, other = made(make, n_envs), made(make, n_envs + 1)
    for each in (env, other):
        each.reset()
    try:
        other.load_state_dict(env.state_dict())
    except InputError:
        return "a state of another number of environments is refused"
    except Exception as error:
        raise Failure(f"a state of another size ends in {contract.described(error)}", "raise InputError") from error
    raise Failure("a state of another number of environments is loaded", "call super().load_state_dict(state)")


def _tensors_of_their_own(make: Make, n_envs: int) -> str:
    """Whether the environment later changes what it returned, or now what it was given."""
    env = made(make, n_envs)
    player = _Player(env)
    held: dict[str, tuple[Tensor, Tensor]] = {}
    for _ in range(SHORT):
        actions = player.actions()
        given = actions.clone()
        rewards, *ends = env._call("_advance", given)
        returned = {"observe()": env._observed(), "the rewards": rewards}
        returned |= dict(zip(("terminated", "truncated"), ends, strict=False))
        if (mask := env.allowed()) is not None:
            returned["action_mask()"] = mask
        if not torch.equal(given, actions):
            raise Failure("_advance changes the actions that it is given", "work on actions.clone()")
        for name, (tensor, copy) in held.items():
            if not torch.equal(tensor, copy):
                remedy = "return a new tensor each time: .clone()"
                raise Failure(f"a step changes the tensor of {name} of the step before", remedy)
        held = {name: (tensor, tensor.clone()) for name, tensor in returned.items()}
    env.reset()
    for name, (tensor, copy) in held.items():
        if not torch.equal(tensor, copy):
            raise Failure(f"a reset changes the tensor of {name} of the step before", "return a new tensor: .clone()")
    return "what is returned stays as it is, and so do the actions that are given"


def _rewards(make: Make, n_envs: int) -> str:
    env = made(make, n_envs)
    player = _Player(env)
    best = env.best_return
    total, weight, running = torch.zeros(n_envs, dtype=torch.float64), 1.0, torch.ones(n_envs, dtype=torch.bool)
    paid = []
    for _ in range(min(LONG, env.max_steps)):
        _, _, rewards, terminated, truncated = player.step()
        total += weight * rewards.sum(dim=1).double() * running
        weight, running = weight * env.discount, running & ~(terminated | truncated)
        paid.append(rewards)
    if best is not None and bool((total > best + 1e-4 * (1 + abs(best))).any()):
        raise Failure(f"a return of {float(total.max()):.6g} exceeds best_return = {best:.6g}", "correct best_return")
    every = torch.cat(paid)
    if env.n_agents > 1 and bool((every == every[:, :1]).all()) and bool(every.any()):
        remedy = "if it is the team's, share it: the return is the sum over agents"
        raise Warned("every agent is always paid the same", remedy)
    return f"finite; their sum over agents, the team's, is {float(every.sum(dim=1).mean()):.4g} a step on average"


def _influence(make: Make, n_envs: int) -> str:
    """Whose action changes whose next observation or reward, against the edges of the graph."""
    env = made(make, n_envs)
    n = env.n_agents
    agents = torch.linspace(0, n - 1, min(n, MOST_AGENTS)).round().long().tolist()
    found = measure_influence(env, rounds=3, horizon=4, agents=agents)
    if not found.repeatable:
        raise Warned("the same seed and actions give two episodes, so that influence is not measured", "see seeds")
    beyond = found.effect > 0
    source, target = env.graph.edge_index.cpu().numpy()
    beyond[source, target] = beyond[range(n), range(n)] = False
    if beyond.any():
        agent, other = (env.graph.name_of(int(i)) for i in np.argwhere(beyond)[0])
        told = f"the action of agent {agent} changes the reward or next observation of agent {other}"
        raise Warned(f"{told}, which is no neighbour", "add the edge, or expect mixers of the graph to miss it")
    skipped = bool(np.isnan(found.effect[agents]).any())
    more = ", where what is drawn allows it" if skipped else ""
    return f"no agent changes next what others than its neighbours observe or are paid{more}"


def _speed(make: Make, n_envs: int) -> str:
    parts = []
    for copies in SPEEDS:
        env = made(make, copies)
        if env.max_envs is not None and env.max_envs < copies:
            env = made(make, copies := env.max_envs)
        player = _Player(env)
        choices = [player.actions() for _ in range(4)]
        begin, steps = time.perf_counter(), 0
        while steps < 2 or time.perf_counter() - begin < SECONDS:
            _, _, terminated, truncated = env.step(choices[steps % 4])
            if bool((ended := terminated | truncated).any()):
                env.reset(ended)
            steps += 1
        each = copies * steps / (time.perf_counter() - begin)
        parts.append(f"{each:,.0f} with {copies:,} environment{'s' * (copies > 1)}")
    return f"env steps/s: {', '.join(dict.fromkeys(parts))}"


#: All checks by name, and those without which the others tell nothing.
CHECKS: dict[str, Callable[[Make, int], str]] = {
    "constructor": _constructor,
    "one graph": _one_graph,
    "shapes and types": _shapes,
    "episode, time limit": _episode,
    "actions, masks": _every_action,
    "seeds": _seeds,
    "reset of one": _reset_of_one,
    "acting in one": _acting_in_one,
    "state_dict": _state,
    "state of another size": _other_size,
    "tensors": _tensors_of_their_own,
    "rewards": _rewards,
    "edges of the graph": _influence,
    "speed": _speed,
}
NEEDED = ("constructor", "one graph", "shapes and types")
