"""What several tests share."""

from __future__ import annotations

import copy
import importlib.util
import io
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.layout_engine import ConstrainedLayoutEngine
from rich.console import Console
from torch import Tensor

from lomaq.config import compose
from lomaq.envs import Rollout
from lomaq.graphs import AgentGraph
from lomaq.plots.run import train as train_and_draw
from lomaq.training.run import train


def of_the_docs(name: str) -> ModuleType:
    """A program in docs/."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).resolve().parents[1] / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def build() -> ModuleType:
    """docs/build.py."""
    return of_the_docs("build")


@pytest.fixture(scope="session")
def results() -> ModuleType:
    """docs/results.py."""
    return of_the_docs("results")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--torture", action="store_true", help="run the whole campaigns of tests/torture")


for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:  # as a shell has it for background jobs; some tests interrupt
        signal.signal(number, usual)

# several test processes share the cores, and threads that wait for each other cost more than they bring
torch.set_num_threads(1)

#: What a person types for each main function of the command line.
SCRIPTS = {"main": "lomaq", "train_main": "train.py", "evaluate_main": "evaluate.py"}
#: A run of a second: two small iterations between evaluations.
SMALL = (
    "learner.n_envs=4",
    "learner.rollout_steps=10",
    "learner.minibatches=2",
    "evaluation.episodes=2",
    "evaluation.every_env_steps=80",
    "total_env_steps=400",
)
#: How an environment that has no ``env.n_agents`` gets three agents; here with 2, 2 and 1 actions. The two-step game
#: always has two: its word changes nothing.
THREE_AGENTS = {
    "matrix": "env.payoffs=[[[[0],[1]],[[1],[2]]],[[[2],[1]],[[1],[1]]],[[[0],[1]],[[0],[3]]]]",
    "two_step": "env.name=two_step",
    "pettingzoo": "env.args.N=3",
    "voltage": "env.inverters=['18','25','33']",
    "sumo": "env.net=cologne3",
}
#: What else keeps a run in an environment small.
SHORT = {"sumo": ("env.seconds=100", "env.timeout=600")}


#: Packages without which an environment cannot be played.
PACKAGES = {"pettingzoo": "mpe2", "cognac": "cognac", "sumo": "libsumo"}


@pytest.fixture(scope="session")
def needs() -> Callable[[str], None]:
    """Skip the test where an environment's package is not installed: ``needs("pettingzoo")``."""
    return lambda env: env in PACKAGES and pytest.importorskip(PACKAGES[env])


def three_agents_in(env: str) -> str:
    if env in PACKAGES:
        pytest.importorskip(PACKAGES[env])
    return THREE_AGENTS.get(env, "env.n_agents=3")


@pytest.fixture(scope="session")
def three_agents():
    """The override that gives an environment three agents: ``three_agents("nav")``."""
    return three_agents_in


@pytest.fixture(scope="session")
def small() -> tuple[str, ...]:
    """Overrides that make any configuration small."""
    return (three_agents_in("cartpole"), *SMALL)


@cache
def composed_once(words: tuple[str, ...]) -> dict[str, Any]:
    """The configuration of these words, which many runs share; to compose it takes half as long as a small run."""
    return compose(words)


@pytest.fixture
def run_small(tmp_path: Path):
    """Train a small run: ``run_small("name", *overrides)`` → (folder, summary). ``drawn`` for its pictures, too."""

    def run(
        name: str, *overrides: str, checkpoint: Path | None = None, drawn: bool = False
    ) -> tuple[Path, dict[str, Any]]:
        folder = tmp_path / name
        env = dict(word.split("=", 1) for word in overrides).get("env", "cartpole")
        words = (three_agents_in(env), *SHORT.get(env, ()), *SMALL, *overrides)
        config = compose(words) if "_target_" in " ".join(words) else copy.deepcopy(composed_once(words))
        return folder, (train_and_draw if drawn else train)(config, folder, Console(file=io.StringIO()), checkpoint)

    return run


@pytest.fixture(autouse=True)
def plain_pictures(request, monkeypatch) -> None:
    """Pictures are not laid out, which takes as long as drawing them, but where pictures are what is tested."""
    if "plots" not in request.node.path.parts:
        monkeypatch.setattr(ConstrainedLayoutEngine, "execute", lambda *_: None)


@pytest.fixture(autouse=True)
def few_episodes(monkeypatch) -> None:
    """Certificates estimate conflict from as little as they can; a test of the estimate says how much it needs."""
    for name, value in {"BUDGET": 2**8, "ROLLOUTS": 1, "PASSES": 1, "STEPS": 4}.items():
        monkeypatch.setattr(f"lomaq.analysis.certificate.conflict.{name}", value)


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run the command line in this process: ``command(cli.train_main, *words)`` → (status, out, err)."""
    monkeypatch.chdir(tmp_path)

    def run(main, *words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [SCRIPTS[main.__name__], *words])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory, small) -> Path:
    """A finished small run, which no test may change."""
    folder = tmp_path_factory.mktemp("once") / "trained"
    train_and_draw(compose([*small, "run_dir=trained"]), folder, Console(file=io.StringIO()))
    return folder


@pytest.fixture
def trained(command, trained_once, tmp_path) -> Path:
    """A copy of it, in the folder that commands run in, which a test may change."""
    return shutil.copytree(trained_once, tmp_path / "trained")


def _edges_of(graph: AgentGraph) -> list[tuple[int, int]]:
    pairs = [tuple(pair) for pair in graph.edge_index.T.tolist()]
    assert pairs == sorted(set(pairs))
    assert set(pairs) == {(b, a) for a, b in pairs}
    return [(a, b) for a, b in pairs if a < b]


@pytest.fixture(scope="session")
def edges_of() -> Callable[[AgentGraph], list[tuple[int, int]]]:
    """Undirected edges of a graph, and a check that each stands in both directions, once and sorted."""
    return _edges_of


#: Steps, sequences and agents of ``make_rollout`` where nothing else is asked for.
T, B, N = 3, 2, 2


def _flags(*columns: str) -> Tensor:
    return torch.tensor([[c == "1" for c in row] for row in zip(*columns, strict=True)])


def _make_rollout(
    terminated: Sequence[str] = (),
    truncated: Sequence[str] = (),
    valid: Sequence[str] = ("1" * T,) * B,
    mask: Tensor | None = None,
    epsilon: float | None = None,
    n_actions: int = 2,
    obs_size: int = 2,
    n_agents: int = N,
) -> Rollout:
    transitions = _flags(*valid)
    steps, batch = transitions.shape
    none = ("0" * steps,) * batch
    generator = torch.Generator().manual_seed(0)
    is_first = torch.zeros(steps + 1, batch, dtype=torch.bool)
    is_first[0] = True
    return Rollout(
        observations=torch.randn(steps + 1, batch, n_agents, obs_size, generator=generator),
        actions=torch.randint(n_actions, (steps, batch, n_agents), generator=generator),
        rewards=torch.randn(steps, batch, n_agents, generator=generator),
        terminated=_flags(*(terminated or none)),
        truncated=_flags(*(truncated or none)),
        mask=transitions,
        is_first=is_first,
        last_actions=torch.full((batch, n_agents), -1),
        hidden=torch.zeros(batch, n_agents, 0),
        action_mask=mask,
        epsilon=None if epsilon is None else torch.full((batch,), epsilon),
    )


def _slow_returns(
    rewards: Tensor, next_values: Tensor, rollout: Rollout, gamma: float, lam: float, time_limit: str = "bootstrap"
) -> np.ndarray:
    result = np.zeros(rewards.shape)
    for t, b, p in reversed(list(np.ndindex(*rewards.shape))):
        value, truncated = float(next_values[t, b, p]), bool(rollout.truncated[t, b])
        if rollout.terminated[t, b] or (truncated and time_limit == "terminal"):
            following = 0.0
        elif truncated or t == len(rewards) - 1 or not rollout.mask[t + 1, b]:
            following = value
        else:
            following = (1 - lam) * value + lam * result[t + 1, b, p]
        result[t, b, p] = float(rewards[t, b, p]) + gamma * following
    return result


@pytest.fixture(scope="session")
def flags() -> Callable[..., Tensor]:
    """``[T, B]`` bool from one string of 0 and 1 for each sequence."""
    return _flags


@pytest.fixture(scope="session")
def make_rollout() -> Callable[..., Rollout]:
    """Random sequences of two agents and three steps, unless told; ends and transitions are written as in ``flags``."""
    return _make_rollout


@pytest.fixture(scope="session")
def slow_returns() -> Callable[..., np.ndarray]:
    """λ-returns, backwards and number by number; arguments as in ``_slow_returns``."""
    return _slow_returns
