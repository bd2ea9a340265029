"""Every configuration composes, builds and trains a few steps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hydra import version

from lomaq.config import CONF, compose
from lomaq.envs import BatchedEnv
from lomaq.errors import InputError
from lomaq.inputs.text import read_checked, read_checked_yaml
from lomaq.mixers import Mixer
from lomaq.training.build import build_run

GROUPS = ("env", "algo", "mixer", "reward", "agent", "learner", "logger")
CHOICES = [(group, file.stem) for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))]
#: Mixers that take no partition but full.
ONE_BLOCK = ("qmix", "graphmix")


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=[f"{g}={c}" for g, c in CHOICES])
def test_every_choice_of_every_group_trains(run_small, group: str, choice: str) -> None:
    if choice in ("wandb", "mlflow"):  # tests/training/test_loggers.py has stand-ins for them
        pytest.importorskip(choice)
    extra = ["learner.batch_size=2", "learner.replay_capacity=8", "env.max_steps=10"] if choice == "paper" else []
    if (group, choice) == ("learner", "paper"):
        extra += ["learner.n_envs=1", "learner.rollout_steps=null", "learner.minibatches=1", "total_env_steps=60"]
    extra = extra if group == "learner" else []
    extra += ["partition=full"] if group == "mixer" and choice in ONE_BLOCK else []
    extra += ["env=nav"] if choice == "oracle" else []  # cart-pole's best return is known, and needs no oracle
    extra += ["env=sysadmin", "algo.baseline=never"] if choice == "baseline" else []
    folder, summary = run_small("run", f"{group}={choice}", *extra)
    policy = read_checked_yaml(folder / "config.yaml")["algo"]["policy"]
    assert (summary["env_steps"] > 0) == (policy == "utilities")
    if group == "algo":
        assert summary["algorithm"] == ("never" if choice == "baseline" else choice)
    assert read_checked(folder / "summary.json") == summary


ENVS, MIXERS = ([c for g, c in CHOICES if g == group] for group in ("env", "mixer"))
PARTITIONS = ("singletons", "pairs", "full", "communities", "[[0,2],[1]]")


@pytest.mark.parametrize(
    ("env", "mixer", "partition"),
    [  # every environment with every mixer, of which two are quick, and every mixer with every partition
        *(
            pytest.param(env, mixer, PARTITIONS[i % 5], marks=() if (i - j) % len(MIXERS) < 2 else pytest.mark.slow)
            for i, env in enumerate(ENVS)
            for j, mixer in enumerate(MIXERS)
        ),
        *(("sysadmin", mixer, partition) for mixer in MIXERS for partition in PARTITIONS),
    ],
)
def test_every_environment_mixer_and_partition_fit_together(three_agents, env: str, mixer: str, partition: str) -> None:
    if env == "two_step":  # two agents
        partition = partition.replace("[0,2]", "[0]")
    words = [f"env={env}", three_agents(env), f"mixer={mixer}", "kappa=2", f"partition={partition}"]
    if mixer in ONE_BLOCK and partition not in ("full", "communities"):
        with pytest.raises(InputError, match="partition: expected full for"):
            build_run(compose(words))
        return
    run = build_run(compose(words))
    assert isinstance(run.module.networks.mixer, Mixer)
    assert run.partition.n_agents == (2 if env == "two_step" else 3)


def test_an_algorithm_with_a_foreign_choice_is_recorded_as_custom(run_small) -> None:
    _, summary = run_small("run", "algo=vdn", "mixer=mlp")
    assert summary["algorithm"] == "custom"
    assert (summary["mixer"], summary["partition"], summary["reward"]) == ("mlp", "full", "team")


@pytest.mark.slow
@pytest.mark.parametrize("algo", [c for g, c in CHOICES if g == "algo" and c not in ("oracle", "baseline", "random")])
def test_every_method_trains_with_target_copies(run_small, algo: str) -> None:
    _, summary = run_small(
        "run", f"algo={algo}", "learner.target=hard", "learner.target_every=2", "total_env_steps=100"
    )
    assert summary["algorithm"] == algo


def keys_of(file: Path) -> Iterator[tuple[str, bool]]:
    """Dotted name of each key in a file, and whether a comment stands above it or above the block that it is in."""
    names: dict[int, str] = {}
    covered: set[int] = set()  # indents at which a comment stands above what follows
    for line in file.read_text().splitlines():
        indent = len(line) - len(line.lstrip())
        key = re.match(r" *([\w.]+):", line)
        if not line.strip():
            covered = set()
        elif line.lstrip().startswith("#"):
            covered = {*(c for c in covered if c < indent), indent}
        elif key is not None:
            covered = {c for c in covered if c <= indent}
            names = {i: name for i, name in names.items() if i < indent} | {indent: key[1]}
            yield ".".join(name for _, name in sorted(names.items())), indent in covered


def test_defaults_live_in_yaml_with_a_comment_each() -> None:
    described = {*GROUPS}
    rest: dict[str, Path] = {}
    for file in sorted(CONF.rglob("*.yaml")):
        first = file.read_text().partition("\n")[0]
        assert first.startswith("# "), file
        group = "" if file.parent == CONF else file.parent.name
        package = first.partition("@package ")[2] or group
        prefix = f"{package}." if package not in ("", "_global_") else ""
        for key, comment in keys_of(file):
            if comment:
                described.add(prefix + key)
            elif package == "_global_":  # sets anew what another file describes
                rest[key] = file
            else:
                assert key.partition(".")[0] in ("defaults", "hydra"), f"{key} in {file} has no comment"
    described |= {key.rpartition(".")[0] for key in described}
    free = ("defaults", "algo.searched.", "algo.identity.", "study.grid.")  # hydra's, and names that are data
    assert not {f"{key} in {file}" for key, file in rest.items() if key not in described and not key.startswith(free)}


def test_the_wheel_ships_the_same_configurations() -> None:
    root = Path(__file__).resolve().parents[1]
    assert (root / "src" / "lomaq" / "conf").resolve() == (root / "conf").resolve()


def test_recommended_values_stand_in_the_environment() -> None:
    for file in (CONF / "env").glob("*.yaml"):
        recommended = yaml.safe_load(file.read_text())["recommended"]
        learner = compose([f"env={file.stem}"])["learner"]
        assert learner["lr"] == recommended["lr"]
        assert learner["objective"]["returns"]["gamma"] == recommended["gamma"]


def test_a_word_may_recommend_what_only_other_environments_recommend() -> None:
    config = compose(["env=cartpole", "env.recommended.kappa=2", "env.recommended.weight_sharing=0.5"])
    assert (config["kappa"], config["mixer"]["weight_sharing"]) == (2, 0.5)
    with pytest.raises(InputError, match=r"^recommended\.gama: expected one of .*; did you mean gamma\?"):
        compose(["env=cartpole", "env.recommended.gama=0.5"])


@pytest.mark.parametrize("choice", ENVS)
def test_environments_tell_their_sizes(needs, choice) -> None:
    needs(choice)
    with build_run(compose([f"env={choice}"])).make_env(2, 0, "cpu") as env:  # type: ignore[arg-type]
        assert isinstance(env, BatchedEnv)
        assert env.reset().shape == (2, env.n_agents, env.obs_size)


def test_settings_without_a_word_compose_where_hydra_was_not_used_before(monkeypatch) -> None:
    base = version.VersionBase.instance()
    monkeypatch.setattr(base, "version_base", unset := version.VersionBase().version_base)
    assert compose([])["method"] == "lomaq"
    assert base.version_base is unset
