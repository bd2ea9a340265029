"""Model cards: what a trained policy is, in Markdown with a head of YAML, as model hubs show it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lomaq.config import choices, compose
from lomaq.config.words import flat, word_of
from lomaq.errors import InputError
from lomaq.runs.record import RunRecord, read_run

#: Beginnings of settings that do not say what was learned, or that others follow from.
ASIDE: tuple[str, ...] = (
    "algo.",
    "evaluation.",
    "files",
    "init_from",
    "jobs",
    "logger.",
    "method",
    "resume",
    "run_dir",
    "seed",
)
ASIDE += ("study", "trainer.", "compile", "deterministic")
#: Settings of a group that describe it.
NOTES = ("name", "recommended", "tuned")
#: What stands for a number of episodes where the environment computes returns.
EXACT = "exact expected return"


def card_of(folders: Sequence[Path], name: str | None = None) -> str:
    """The card of a run that has ended.

    Args:
        folders: Its folder, and those of runs that differ from it by their seeds alone.
        name: What to call it; None for the name of the folder.

    Raises:
        InputError: If a run has not ended or kept no settings, or one differs by more than its seed.
    """
    runs = [_ended(folder) for folder in folders]
    first = runs[0]
    for run in runs[1:]:
        if differing := _difference(run.config, first.config):
            expected = f"the settings of {first.folder} but for the seed"
            raise InputError("run", expected, f"{run.folder}, with another {', '.join(differing)}")
    name = first.folder.resolve().name if name is None else name
    env, agents = first.summary["env"], first.summary["n_agents"]
    warm = first.config["init_from"]
    return "\n".join(
        [
            _head(first),
            f"# {name}",
            "",
            f"{first.label} on `{env}` with {agents} agents: one policy for each agent, which acts on what that agent",
            f"observes. Trained by lomaq from {first.reads}, with a budget of",
            f"{first.config['total_env_steps']:,} env steps; the checkpoint is that of the best test.",
            *([f"It began with the weights of `{warm}`."] if warm else []),
            "",
            "## How to train it",
            "",
            f"    {command_of(first.config)}",
            "",
            *_settings(first.config),
            "## Results",
            "",
            *_results(runs),
            "## How to load it",
            "",
            "```python",
            "import lomaq",
            "",
            'policy = lomaq.load("PATH")  # this folder, or its checkpoints/best.ckpt',
            "print(policy.evaluate(episodes=20).mean())",
            "```",
            "",
            "From the command line: `lomaq evaluate checkpoint=PATH`.",
            "",
            "## Limits",
            "",
            *_limits(first, len(runs)),
        ]
    )


def command_of(config: dict[str, Any]) -> str:
    """The words that train a run: environment, method and the settings that differ from their defaults."""
    own = [] if config["env"]["name"] in choices()["env"] else [f"env={config['env']['name']}"]
    words = [*own, *_groups(config)]
    words += [f"{key}={word_of(value)}" for key, (value, _) in differences(config).items()]
    return " ".join(["python train.py", *words, f"seed={config['seed']}"])


def differences(config: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Settings that differ from what environment, method and parts alone give → their value and that default.

    Where the environment is one of somebody's own, its settings are all there, with None as their default.
    """
    known, mine = flat(compose(_groups(config))), flat(config)
    return {key: (value, known.get(key)) for key, value in mine.items() if _counts(key) and value != known.get(key)}


def _groups(config: dict[str, Any]) -> list[str]:
    """Environment, method and the parts that this does not bring by itself, where they are ours."""
    there = choices()
    words = [f"{key}={config[key]['name']}" for key in ("env", "algo") if config[key]["name"] in there[key]]
    plain = compose(words)
    for key in ("mixer", "reward", "learner"):
        name = config[key]["name"]
        words += [f"{key}={name}"] if name != plain[key]["name"] and name in there[key] else []
    return words


def _counts(key: str) -> bool:
    return not key.startswith(ASIDE) and not {*NOTES} & {*key.split(".")}


def _difference(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    mine, theirs = flat(a), flat(b)
    return sorted(key for key in {*mine, *theirs} if _counts(key) and mine.get(key) != theirs.get(key))


def _ended(folder: Path) -> RunRecord:
    run = read_run(folder)
    if not run.summary or not run.config:
        raise InputError("run", "a run that has ended, with config.yaml and summary.json", folder, f"resume={folder}")
    return run


def _head(run: RunRecord) -> str:
    env, mean = run.summary["env"], round(float(run.summary["test_return_mean"]), 3)
    task = {"type": "reinforcement-learning", "name": "multi-agent reinforcement learning"}
    data = {"type": env, "name": f"{env}, {run.summary['n_agents']} agents"}
    metric = {"type": "mean_return", "name": EXACT if _exact(run) else "mean test return", "value": mean}
    content = {
        "library_name": "lomaq",
        "tags": ["multi-agent-reinforcement-learning", "reinforcement-learning", run.summary["algorithm"], env],
        "model-index": [{"name": run.label, "results": [{"task": task, "dataset": data, "metrics": [metric]}]}],
    }
    return f"---\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}---\n"


def _settings(config: dict[str, Any]) -> list[str]:
    found = differences(config)
    if not found:
        return ["All settings are the defaults of this environment and method.", ""]
    rows = [f"| `{key}` | {word_of(value)} | {word_of(default)} |" for key, (value, default) in found.items()]
    return ["| setting | here | default |", "|---|---|---|", *rows, ""]


def _exact(run: RunRecord) -> bool:
    """Whether the return was computed: a test then has one number, however many episodes were asked for."""
    return bool(run.summary["test_episodes"] < run.config["evaluation"]["episodes"])


def _results(runs: Sequence[RunRecord]) -> list[str]:
    rows = [
        f"| {run.summary['seed']} | {run.summary['env_steps']:,} "
        f"| {EXACT if _exact(run) else run.summary['test_episodes']} "
        f"| {run.summary['test_return_mean']:,.2f} | {run.summary['best_test_return_mean']:,.2f} |"
        for run in runs
    ]
    head = ["| seed | env steps | episodes | last test | best test |", "|---|---|---|---|---|"]
    references = {name: value for name, value in runs[0].summary["references"].items() if value is not None}
    known = [", ".join(f"{name} {value:,.2f}" for name, value in references.items())] if references else []
    told = [f"To compare: {text}." for text in known]
    return ["Mean returns of test episodes, summed over agents.", "", *head, *rows, "", *([*told, ""] if told else [])]


def _limits(run: RunRecord, seeds: int) -> list[str]:
    agents = run.summary["n_agents"]
    lines = [
        f"- Trained in simulation with {agents} agents. Other sizes and graphs were not tested.",
        "- Agents must observe and act as in this environment; nothing else was checked for safety.",
    ]
    lines += ["- One seed: another one may learn better or worse."] if seeds == 1 else []
    if run.config["agent"].get("agent_id"):
        lines.append("- `agent.agent_id=true` ties the policy to this number of agents.")
    return [*lines, ""]
