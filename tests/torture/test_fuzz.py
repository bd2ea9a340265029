"""Command lines that nobody would type, drawn with a fixed seed: each works, or is refused in one line."""

from __future__ import annotations

import io
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path

import pytest

from lomaq import cli
from lomaq.cli.commands import COMMANDS
from lomaq.config import choices, compose, flat

#: Seed of the lines.
SEED = 18
#: What keeps a line that turns out to be right short.
SHORT = (
    *("total_env_steps=80", "evaluation.every_env_steps=80", "evaluation.episodes=1", "learner.n_envs=2"),
    *("learner.rollout_steps=4", "learner.minibatches=1", "learner.epochs=1", "evaluation.references=false"),
)
#: Configurations whose settings are drawn; together all environments and every class of a part.
BASES = (
    *("env=cartpole env.n_agents=3 env.max_steps=9", "env=nav env.n_agents=3 env.max_steps=9", "env=matrix"),
    *("env=sysadmin env.n_agents=3 env.max_steps=9", "env=polymatrix env.n_agents=3", "env=two_step"),
    "env=matrix learner=paper learner.rollout_steps=null learner.replay_capacity=4 learner.batch_size=2",
    *(f"env=matrix algo={name}" for name in ("lomaq_rd", "lomaq_gcn", "qmix", "qtran", "qplex", "dcg", "coma")),
    *(f"env=matrix algo={name}" for name in ("graphmix", "cw_qmix", "vdn", "oracle", "random")),
    *(
        "env=matrix agent=gru",
        "env=nav env.n_agents=3 env.max_steps=9 learner=searched algo=vdn",
        "env=two_step mixer=qmix partition=full",
    ),
)
#: Settings that may be large without being wrong, and what would become of a line with a large one.
LARGE = {
    **dict.fromkeys(("total_env_steps", "evaluation.episodes", "learner.epochs", "reward.fit.updates"), "it runs on"),
    **dict.fromkeys(("env.max_steps", "learner.rollout_steps", "kappa", "jobs", "agent.rounds"), "it runs on"),
    **dict.fromkeys(("env.n_agents", "learner.n_envs", "learner.batch_size", "learner.replay_capacity"), "memory"),
    **dict.fromkeys(("mixer.hidden", "mixer.hyper_hidden", "mixer.attention", "agent.payoff_hidden"), "memory"),
    **dict.fromkeys(("agent.hidden", "reward.networks.hidden", "learner.objective.hidden"), "memory"),
    **dict.fromkeys(("agent.payoff_rank", "reward.max_size", "reward.fit.batch_size"), "memory"),
    **dict.fromkeys(("env.payoffs", "env.payoff", "env.recommended.hidden"), "memory"),
    **dict.fromkeys(("trainer.devices", "trainer.num_nodes", "trainer.threads"), "it waits for other machines"),
}
#: Settings that are left out, and why.
LEFT_OUT = {
    "trainer.accelerator": "other devices than the CPU are not there, or slow to start",
    "trainer.strategy": "ddp starts processes",
    **dict.fromkeys(("logger.wandb", "logger.mlflow", "logger.tensorboard", "logger.offline"), "others' programs"),
}
NUMBERS = ("-1", "0", "1", "2", "3", "1.5", "-0.5", "1e-400", "0.0", "1_0", "0x10", "1e0", "-0", "007")
NO_NUMBERS = ("1e400", "nan", "inf", "-inf", "9" * 400, "1e400x")
TREES = (
    "[]",
    "{}",
    "[[]]",
    "[null]",
    "{a: 1}",
    "{a: {b: [1]}}",
    "[1,2]",
    "[1,x]",
    "[1.5]",
    "[[0,1],[2]]",
    "[[0]]",
    "[{}]",
    *("{eps: x}", "{eps: 0.5}", "{lr: 1}", "{maximize: [1]}"),
)
WORDS = (
    "null",
    "x",
    "''",
    '""',
    "true",
    "false",
    "maybe",
    "None",
    "größe",
    "κ",
    "😀",
    "a b",
    "'a b'",
    "os.system",
    "1 2",
)
SIGNS = (
    "'",
    '"',
    "a=b",
    "a,b",
    "\\",
    "*",
    "~",
    "#",
    ":",
    "a:b",
    "{",
    "[",
    "]",
    "@",
    "%",
    "$",
    "!",
    "\t",
    "\n",
    "=",
    ",",
)
REFERENCES = (
    "${seed}",
    "${nope}",
    "${",
    "${}",
    "${oc.env:NOPE}",
    "${.x}",
    "${oc.select:a,b}",
    "???",
    "${a:b}",
    "\\${seed}",
)
LONG = (
    "../x",
    "/proc/x/y",
    "/dev/null",
    "x" * 300,
    "x/" * 80,
    ".",
    "/",
    "[" * 60,
    "!!python/object:os.system",
    "lomaq.nn.Utilities",
)
VALUES = (*NUMBERS, *NO_NUMBERS, *TREES, *WORDS, *SIGNS, *REFERENCES, *LONG)
FLAGS = (
    *("--cfg job", "--cfg x", "--cfg", "-c all", "-c=job", "--foo", "-x", "--info", "--info x", "--info defaults"),
    *("-m", "--multirun", "--config-dir", "--config-dir nowhere", "--config-dir=", "-cd x", "--config-dir /proc/x"),
    *(
        "--help",
        "--help x",
        "--resolve",
        "--cfg job --resolve",
        "--cfg job -p env",
        "--cfg job -p nowhere",
        "--hydra-help",
    ),
    *(
        "--experimental-rerun x",
        "-sc",
        "--shell-completion query=fish",
        "--version",
        "--config-name x",
        "--config-path x",
    ),
    *(
        "",
        "-",
        "--",
        "=",
        "=x",
        "x",
        "x=",
        "+",
        "~",
        "++",
        "kappa",
        "resume",
        "resume=",
        "resume=x",
        "run_dir=",
        "run_dir",
    ),
    *(
        "-m seed=0,1 kappa=x",
        "-m seed=",
        "-m seed=0,0",
        "-m seed=[],{}",
        "-m run_dir=a,b seed=0",
        "-m -m",
        "-m kappa=1,,2",
    ),
)


@cache
def leaves(base: str) -> list[str]:
    return [key for key in flat(compose(base.split())) if key not in LEFT_OUT and key != "method"]


def mangled(draw: random.Random, key: str) -> str:
    at = draw.randrange(len(key))
    sign = draw.choice([".", "/", "@", "_", "x", "", "ä", "..", ":", " ", "="])
    return draw.choice([key[:at] + sign + key[at + 1 :], f"{key}{sign}", f"{key}.x", key.rpartition(".")[0] or "x"])


def word(draw: random.Random, key: str) -> str:
    large = key in LARGE
    return f"{key}={draw.choice([value for value in VALUES if value != NO_NUMBERS[4]] if large else VALUES)}"


def training(draw: random.Random) -> list[str]:
    """Words of a training, of which one or two are odd."""
    base = draw.choice(BASES)
    kind, key = draw.random(), draw.choice(leaves(base))
    words = [*SHORT, *base.split()]
    if "oracle" not in base and "paper" in base:
        words = [*(one for one in SHORT if "learner" not in one), *base.split(), "total_env_steps=3"]
    if kind < 0.7:
        return [*words, word(draw, key)]
    if kind < 0.78:
        return [*words, f"{mangled(draw, key)}={draw.choice(VALUES)}"]
    if kind < 0.83:
        return [*words, draw.choice(["+", "~", "++", "-", "?", "+ "]) + draw.choice([key, word(draw, key), "x=1"])]
    if kind < 0.88:
        return [*words, word(draw, key), word(draw, key)]
    if kind < 0.94:
        group = draw.choice([*choices(), "algo", "objective", "hydra", "hydra/launcher", "env/cartpole"])
        names = [f"{name}x" for name in choices().get(group, ["x"])]
        return [*words, f"{group}={draw.choice([*names, *VALUES])}"]
    return [*words, *draw.choice(FLAGS).split(" ")]


def other(draw: random.Random) -> list[str]:
    """Words of another command."""
    name = draw.choice([*COMMANDS, *COMMANDS, "trains", "help", "--help", ""])
    if name not in COMMANDS:
        return [name, *([draw.choice(VALUES)] if draw.random() < 0.5 else [])]
    defaults = COMMANDS[name].defaults
    needed = {
        **{"evaluate": ["checkpoint=RUN", "episodes=1"], "certify": ["checkpoint=RUN", "states=2", "output=out"]},
        **{"decompose": ["checkpoint=RUN"], "export": ["checkpoint=RUN", "format=torch", "output=out"]},
        **{"info": ["run=RUN"], "compare": ["run=RUN", "run=RUN", "output=out"], "graph": ["env=nav"]},
        **{"bandit": ["n=2", "K=2", "T=4", "run_dir=out"], "figures": [], "completion": []},
        **{"check-env": ["matrix"], "graph discover": ["env=sysadmin", "env.n_agents=3", "output=out"]},
        **{"new env": ["lamps"]},
    }[name]
    keys = [*defaults, "env.n_agents", "env.max_steps", "x"]
    large = ("episodes", "T", "n", "K", "states", "env.n_agents", "env.max_steps", "repetitions", "pairs", "moments")
    large += ("rounds", "horizon", "ahead", "n_envs")
    key = draw.choice(keys)
    value = draw.choice([one for one in VALUES if one != NO_NUMBERS[4]] if key in large else VALUES)
    odd = draw.choice([f"{key}={value}", f"{key}={value}", f"{key}={value}", key, value, draw.choice(FLAGS)])
    kept = [one for one in needed if draw.random() < 0.9 and not one.startswith(f"{key}=")]
    return [*name.split(), *kept, odd]


def lines(count: int, seed: int = SEED) -> Iterator[list[str]]:
    draw = random.Random(seed)
    for _ in range(count):
        yield ["train", *training(draw)] if draw.random() < 0.85 else other(draw)


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"a line that takes more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def files_below(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def fault_of(words: list[str], run: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is wrong with what the command line does for ``words`` in an empty ``folder``; empty if nothing is."""
    words = [one.replace("RUN", str(run)) for one in words]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["lomaq", *words])
    out, err, status, before = io.StringIO(), io.StringIO(), None, files_below(run)
    try:
        with redirect_stdout(out), redirect_stderr(err), at_most(60):
            cli.main()
    except SystemExit as stop:
        status = stop.code or 0
    except BaseException:
        return traceback.format_exc(limit=-4)
    said = err.getvalue().strip().splitlines()
    if status not in (0, 1, 2):
        return f"status {status}"
    if status == 2 and words[0] in ("", "--help"):
        return ""
    ended = any("the loss became" in line for line in said) or bool({"-m", "--multirun"} & {*words})
    if status == 2 and not ended:
        if len(said) != 1 or not said[0].startswith("error: ") or out.getvalue():
            return f"not one line: {out.getvalue()[:200]!r} {err.getvalue()[:600]!r}"
        if list(folder.iterdir()) or files_below(run) != before:
            return f"refused, but something was written: {sorted(folder.rglob('*'))[:4]} {said[0]}"
    return "" if status != 2 or said else "refused without a word"


@pytest.fixture
def play(run_small, tmp_path, monkeypatch):
    """Play command lines: their number → those with a fault, and what it is."""
    run, _ = run_small("stored", "env=sysadmin", "env.max_steps=9")

    def of(count: int) -> list[str]:
        found = []
        for number, words in enumerate(lines(count)):
            fault = fault_of(words, run, tmp_path / "here", monkeypatch)
            if fault:
                found.append(f"{number}: {words}\n{fault}")
        return found

    return of


def test_thirty_odd_lines_work_or_are_refused_in_one_line(play) -> None:
    assert play(30) == []


@pytest.mark.slow
def test_a_thousand_odd_lines_work_or_are_refused_in_one_line(play, request) -> None:
    found = play(2200 if request.config.getoption("--torture", default=False) else 1000)
    assert found == []
