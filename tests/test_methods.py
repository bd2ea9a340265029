"""A method is one file: it is found by all that lists methods, and a run has its name only where it is that method."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lomaq import cli
from lomaq.cli.usage import settings, train_usage
from lomaq.config import CONF, choices, compose, compose_jobs, methods
from lomaq.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
LEARNING = list(methods())
ENVS = choices()["env"]

#: A method with a loss of its own. In the repository these are objectives/clipped.py and conf/algo/clipped.yaml;
#: with docs/algorithms/clipped.md and a test they are all the files that it takes.
MATHS = '''
from lomaq.objectives import PartitionTD


class Clipped(PartitionTD):
    """Q-learning whose returns are at most 1."""

    def targets(self, *arguments):
        targets = super().targets(*arguments)
        targets.returns.clamp_(max=1.0)
        return targets
'''
SETTINGS = """# @package _global_
# Clipped VDN: the sum of all utilities, returns at most 1.
defaults:
  - override /mixer: sum
  - override /reward: team

partition: full
learner:
  objective:
    _target_: clipped.Clipped

algo:
  name: clipped
  label: Clipped VDN
  reads: team
  searched:
    cartpole: {lr: 0.02, lam: 0.5}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder of settings with a method of its own."""
    (tmp_path / "more" / "algo").mkdir(parents=True)
    (tmp_path / "more" / "algo" / "clipped.yaml").write_text(SETTINGS)
    (tmp_path / "clipped.py").write_text(MATHS)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "more"


def method_of(*words: str) -> str:
    return str(compose(words)["method"])


# ------------------------------------------------------------------------ lists


def test_a_new_method_is_found_by_help_completion_experiments_and_the_table_of_the_site(folder, build) -> None:
    assert "clipped" in settings([folder])
    assert "clipped" in train_usage([folder])
    assert methods([folder])["clipped"]["label"] == "Clipped VDN"
    grid = compose(["experiment=fig5_cartpole", f"--config-dir={folder}"])["study"]["grid"]
    assert set(grid["algo"]) == {*LEARNING, "clipped"}
    assert build.row("clipped", [folder]) == (
        "| [clipped](clipped.md) | Clipped VDN: the sum of all utilities, returns at most 1. "
        "| `sum` | `team` | `full` | `Clipped` | `team` |"
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_completion_of_a_folder_of_settings_offers_its_methods(command, folder, tmp_path) -> None:
    status, script, err = command(cli.main, "completion", "--config-dir", str(folder))
    assert (status, err) == (0, "")
    (tmp_path / "lomaq").write_text(script)
    asked = "COMP_LINE='lomaq train algo=cl'; COMP_POINT=19; COMP_WORDS=($COMP_LINE); COMP_CWORD=2; _lomaq"
    line = f"source ./lomaq; compopt() {{ :; }}; {asked}; echo ${{COMPREPLY[@]}}"
    assert subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True).stdout == "clipped\n"


def test_help_lists_the_methods_of_a_folder_of_settings(command, folder) -> None:
    status, out, _ = command(cli.main, "train", "--config-dir", str(folder), "--help")
    assert status == 0
    assert "clipped" in out


def test_a_new_method_trains_is_compared_under_its_label_and_takes_its_searched_settings(
    command, folder, small, tmp_path
) -> None:
    words = ["--config-dir", str(folder), *small, "experiment=fig5_cartpole", "run_dir=study"]
    grid = ["study.grid.algo=[clipped,vdn]", "study.grid.seed=[0]", "study.jobs=1"]
    status, out, err = command(cli.train_main, *words, *grid)
    assert status == 0, err
    assert '"method": "Clipped VDN"' in out
    config = (tmp_path / "study" / "seed=0,algo=clipped" / "config.yaml").read_text()
    assert "method: clipped" in config
    assert "lr: 0.02" in config


def test_methods_are_listed_by_the_reward_that_they_read_then_by_their_label() -> None:
    found = [(method["reads"], method["label"].casefold()) for method in methods().values()]
    assert found == sorted(found)
    assert {read for read, _ in found} == {"local", "team"}
    assert list(methods(learning=False))[-3:] == ["baseline", "oracle", "random"]


@pytest.mark.parametrize("name", methods(learning=False))
def test_every_method_has_a_page_and_the_name_of_its_file(name) -> None:
    assert (ROOT / "docs" / "algorithms" / f"{name}.md").is_file()
    assert methods(learning=False)[name]["name"] == name


# --------------------------------------------------------------------- identity


#: Every method with every learner; one learner of each method is quick.
ALONE = [
    pytest.param(algo, learner, marks=() if (i - j) % 3 == 0 else pytest.mark.slow)
    for i, algo in enumerate(methods(learning=False))
    for j, learner in enumerate(("fast", "paper", "searched"))
]


@pytest.mark.parametrize(("algo", "learner"), ALONE)
def test_every_method_alone_has_its_name_with_every_learner(algo, learner) -> None:
    if learner == "searched" and algo not in LEARNING:
        with pytest.raises(InputError, match=r"learner.*searched"):
            compose([f"algo={algo}", f"learner={learner}"])
    else:
        assert method_of(f"algo={algo}", f"learner={learner}") == algo


def test_only_a_baseline_policy_gives_a_run_its_name() -> None:
    assert method_of("env=sysadmin", "algo=baseline", "algo.baseline=never") == "never"
    assert method_of("env=sysadmin", "algo=vdn", "algo.baseline=never") == "vdn"


@pytest.mark.parametrize(("number", "env"), [*enumerate(ENVS)], ids=ENVS)
def test_methods_alone_have_their_names_on_every_environment(number, env) -> None:
    some = list(methods(learning=False))[number :: len(ENVS)]
    jobs = compose_jobs([f"env={env}", f"algo={','.join(some)}", "-m"])
    assert [job.config["method"] for job in jobs] == some


@pytest.mark.parametrize(
    "words",
    [
        "algo=lomaq mixer=gcn kappa=2 partition=pairs",
        "algo=lomaq mixer.monotonicity=projection mixer.activation=split mixer.state=local",
        "algo=lomaq partition=[[0,1],[2]]",
        "algo=lomaq_gcn kappa=0 mixer.hidden=8",
        "algo=lomaq_soft mixer.penalty=3 mixer.enforce=full",
        "algo=lomaq_rd reward.max_size=2 reward.fit.loss=squared mixer=gcn",
        "algo=ow_qmix learner.objective.alpha=0.5",
        "algo=vdn agent=gru agent.agent_id=true learner.lr=0.1 learner.target=soft seed=3",
        "algo=vdn mixer._target_=lomaq.mixers.sum.SumMixer",
        "algo=vdn_local kappa=3",
        "algo=dcg agent.payoff_rank=2",
        "algo=oracle mixer=gcn",
        "experiment=fig9",
    ],
)
def test_a_run_with_other_hyper_parameters_keeps_the_name(words) -> None:
    name = words.partition("algo=")[2].partition(" ")[0] or "lomaq"
    assert method_of(*words.split()) == name


@pytest.mark.parametrize(
    "words",
    [
        "algo=vdn learner.objective._target_=lomaq.objectives.QTRAN",
        "algo=iql_local mixer.independent=false",
        "algo=iql_local reward.redistribute=full",
        "algo=qmix mixer._target_=lomaq.mixers.GraphMIXMixer",
        "algo=vdn mixer=mlp",
        "algo=vdn partition=singletons",
        "algo=vdn reward=local",
        "algo=iql_nbr reward.source=local",
        "algo=dcg agent._target_=lomaq.nn.Utilities",
        "algo=ow_qmix learner.objective.weighting=central",
        "algo=lomaq mixer.monotonicity=soft",
        "algo=lomaq_soft mixer.monotonicity=projection",
        "algo=lomaq mixer=sum",
        "algo=lomaq reward=decomposed",
        "algo=lomaq algo.policy=random",
        "algo=vdn algo.name=qmix mixer=qmix",
    ],
)
def test_a_run_that_is_not_its_method_is_custom(words) -> None:
    assert method_of(*words.split()) == "custom"


def test_a_class_of_another_package_is_compared_by_its_name(folder, monkeypatch) -> None:
    for name in ("nowhere", "elsewhere", "their"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    assert method_of("algo=vdn", "mixer._target_=their.SumMixer") == "custom"
    (folder / "algo" / "clipped.yaml").write_text(SETTINGS.replace("clipped.Clipped", "nowhere.Clipped"))
    assert compose(["algo=clipped", f"--config-dir={folder}"])["method"] == "clipped"
    changed = ["algo=clipped", "learner.objective._target_=elsewhere.Clipped"]
    assert compose([*changed, f"--config-dir={folder}"])["method"] == "custom"


def test_a_method_that_was_changed_on_the_disk_is_compared_with_what_it_is_now(folder) -> None:
    assert compose(["algo=clipped", f"--config-dir={folder}"])["method"] == "clipped"
    assert compose(["algo=clipped", "partition=pairs", f"--config-dir={folder}"])["method"] == "custom"
    (folder / "algo" / "clipped.yaml").write_text(SETTINGS.replace("partition: full", "partition: pairs"))
    assert compose(["algo=clipped", "partition=pairs", f"--config-dir={folder}"])["method"] == "clipped"


@pytest.mark.parametrize(
    ("line", "key", "remedy"),
    [
        ("plays: utilities", "algo.plays", "algo.policy"),
        ("requires: {mixer.name: [sum]}", "algo.requires", "algo.identity"),
        ("colour: red", "algo.colour", "leave it out"),
        ("reads: state", "algo.reads", "local"),
    ],
)
def test_a_method_with_settings_of_before_or_unknown_ones_is_refused(folder, line, key, remedy) -> None:
    text = SETTINGS.replace("  reads: team\n", "") if "reads" in line else SETTINGS
    (folder / "algo" / "clipped.yaml").write_text(f"{text}  {line}\n")
    with pytest.raises(InputError) as error:
        compose(["algo=clipped", f"--config-dir={folder}"])
    assert key in str(error.value)
    assert remedy in str(error.value)


def test_the_reference_of_a_method_is_composed_once(monkeypatch) -> None:
    import hydra

    composed = []
    original = hydra.compose
    monkeypatch.setattr(hydra, "compose", lambda *args, **kwargs: composed.append(args) or original(*args, **kwargs))
    for kappa in (1, 2, 3):
        compose(["algo=qplex", f"kappa={kappa}"])
    assert len(composed) <= 4


def test_no_file_of_the_package_lists_the_methods_by_hand() -> None:
    for file in (CONF.parent).rglob("*.py"):
        named = [name for name in LEARNING if f'"{name}"' in file.read_text()]
        assert len(named) < 3, (file, named)
