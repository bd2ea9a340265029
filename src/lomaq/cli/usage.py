"""What ``lomaq --help`` and ``lomaq train --help`` print; the commands describe themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lomaq.cli.command import Command, wrapped
from lomaq.config import choices

EXAMPLES = """Examples:
  {train} env=nav mixer=gcn kappa=2
  {train} -m seed=0,1,2 algo=lomaq,vdn
  {train} resume=runs/RUN total_env_steps=400000
  {evaluate} checkpoint=runs/RUN episodes=100 render=episode.gif"""


def usage(commands: Mapping[str, Command]) -> str:
    """The help of ``lomaq``."""
    about = {"train": "Train, continue with resume=RUN, or several runs at once with -m: lomaq train env=nav."}
    about |= {name: command.about.partition("\n")[0] for name, command in commands.items()}
    return "\n".join(
        [
            "usage: lomaq COMMAND [setting=value ...]; lomaq COMMAND --help for more; lomaq --version\n",
            *(wrapped(f"  {name:<15}", text.rstrip(".")) for name, text in about.items()),
            f"\n{settings()}\n",
            EXAMPLES.format(train="lomaq train", evaluate="lomaq evaluate"),
        ]
    )


def settings(config_dirs: Sequence[str | Path] = ()) -> str:
    """The settings that matter, with all that a group can be."""
    found = choices(config_dirs)
    lines = {
        "env=cartpole": f"what to solve: {', '.join(found['env'])}",
        "env.n_agents=15": "how many agents",
        "algo=lomaq": f"which method: {', '.join(found['algo'])}",
        "mixer=mlp": f"how utilities mix: {', '.join(found['mixer'])}",
        "kappa=1": "how many hops a block's mixer depends on",
        "partition=singletons": "blocks of agents: singletons, pairs, full, communities, [[0,1],[2]], blocks.json",
        "reward=local": f"what a block is trained on: {', '.join(found['reward'])}",
        "learner.lr=0.003": "learning rate",
        "total_env_steps=200000": "the budget: steps of one environment, all agents",
        "seed=0": "of everything random",
        "run_dir=FOLDER": "where files go; runs/<env>-<algo>-<date-time> where it is not given",
        "logger=tensorboard": "besides metrics.csv: tensorboard, wandb, mlflow, or [tensorboard,wandb]",
    }
    return "\n".join(["The settings that matter:", *(wrapped(f"  {word:<25}", text) for word, text in lines.items())])


def train_usage(config_dirs: Sequence[str | Path] = ()) -> str:
    """The help of ``python train.py`` and ``lomaq train``."""
    groups = "\n".join(f"  {name}: {', '.join(names)}" for name, names in choices(config_dirs).items())
    return f"""Train cooperative agents on a graph with LOMAQ: python train.py [setting=value ...]

{settings(config_dirs)}

{EXAMPLES.format(train="python train.py", evaluate="python evaluate.py")}

Choices of each group:
{groups}
All settings with their values: python train.py --cfg job; where these come from: lomaq info config="env=nav algo=vdn"
Completion in bash: lomaq completion --help"""
