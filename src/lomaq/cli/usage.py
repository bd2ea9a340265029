"""What the commands answer to ``--help``."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from lomaq.config import choices, methods

INFO_USAGE = """usage: lomaq info run=FOLDER|config="SETTINGS"

Says what a run is, how far it is, its last and best test, when it first reached each threshold, its speed, its files,
and how to go on with it or play it; also while it runs. No checkpoint is opened.

Or shows each setting that a training with these settings would have, and where its value comes from: the environment,
the search for a method's settings, the learner, the method, the command line.

  run      a run folder
  config   settings as in training: config="env=nav algo=vdn learner.lr=0.1"; --config-dir FOLDER among them, too"""
COMPARE_USAGE = """usage: lomaq compare run=FOLDER run=FOLDER [run=...] [output=.]

Sets runs side by side: the settings that differ and the results as a table, also in compare.json, and the test returns
in compare.png; also while they run. No checkpoint is opened.

  run      a run folder, or a pattern such as run='runs/cartpole-*', as often as needed; run=[A,B] is the same
  output   where the two files go"""
FIGURES_USAGE = """usage: lomaq figures [results=results]

Draws the pictures of stored results again, from their numbers and without a checkpoint: those of the studies
(fig5_*, fig6, fig8, fig9, dilemma) and of bandits, and curves.png for each other folder of runs.

  results   a folder of folders of results"""
COMPLETION_USAGE = """usage: lomaq completion [--config-dir FOLDER] > ~/.local/share/bash-completion/completions/lomaq

Prints a bash script that completes the commands, settings and choices of lomaq; bash finds it there, or source it. Make
it anew when settings change. For python train.py hydra has its own, which takes seconds for each answer:
  eval "$(python train.py --shell-completion install=bash)"
"""
EVALUATE_USAGE = """usage: evaluate.py checkpoint=PATH [episodes=20] [seed=0] [render=FILE|human] [env.KEY=VALUE ...]

Plays greedy episodes with the utilities of a checkpoint and prints one JSON object.

  checkpoint  a run folder (its best checkpoint) or a checkpoint file
  episodes    episodes to play
  seed        seed of their starts
  render      film of the first of these episodes: a .gif or .mp4 file (needs lomaq[film]), or human for a window
  env.KEY     any setting of the environment, for example env.n_agents=200"""
BANDIT_USAGE = """Plays Multi-OFUL (Algorithm 1) with each partition and writes bandit.json and bandit.png.

  n, K, d, T        agents, arms each, dimension of the context, rounds
  partitions        singletons, pairs, full or lists of blocks
  repetitions       independent problems, played together
  noise             gaussian or bounded; noise_scale is R_i, one number or one an agent
  alpha             factor on the confidence width; the bound is for 1
  delta             confidence 1 - delta
  regularisation    lambda of the ridge regression
  smallest_gap      smallest scale of an agent's parameters; null for 1/sqrt(T)"""
CERTIFY_USAGE = """usage: lomaq certify checkpoint=PATH [states=64] [epsilon=0.1] [tolerance=0.05] [samples=64] [seed=0]
                     [output=FOLDER]

Examines the mixer of a checkpoint at states that its agents visit; prints one line a check, writes certificate.json and
certificate.png. Exit status 1 where the mixer is not monotone or not local. docs/certificate.md says what each line
proves and what it does not.

  checkpoint  a run folder (its best checkpoint) or a checkpoint file
  states      visited states, drawn from 16 episodes
  epsilon     share of random actions in these episodes
  tolerance   error, in standard deviations of a block's value, that answers "which kappa do I need?"
  samples     joint actions to draw where there are more than 4,096
  seed        seed of the episodes and of everything drawn
  output      where the files go; by default the run folder"""
DECOMPOSE_USAGE = """usage: lomaq decompose checkpoint=PATH [seed=0] [env.KEY=VALUE ...] [output=FOLDER]

Plays one greedy episode with a checkpoint of algo=lomaq_rd or reward=decomposed and sets the rewards that it learned
from the team reward beside the environment's own; prints a summary and writes decomposition.csv, decomposition.json and
decomposition.png. docs/reward-decomposition.md says what they mean.

  checkpoint  a run folder (its best checkpoint) or a checkpoint file
  seed        seed of the episode
  env.KEY     any setting of the environment, for example env.n_agents=30
  output      where the files go; by default the run folder"""
EXPORT_USAGE = """usage: lomaq export checkpoint=PATH [format=onnx] [output=FOLDER]

Writes one policy for each agent type and contract.json, which says what goes in and what comes out, and checks on 1,000
observations of every agent that the policies act as the trained network does. Exit status 1, and nothing written, where
they do not. docs/export.md says how to run them; examples/run_policy.py does, without this package.

  checkpoint  a run folder (its best checkpoint) or a checkpoint file
  format      onnx (needs lomaq[export]) or torch (.pt2, for PyTorch alone)
  output      a new or empty folder; by default policy-onnx or policy-torch in the run folder"""
GRAPH_USAGE = """usage: lomaq graph env=NAME|file=GRAPH|checkpoint=PATH [env.KEY=VALUE ...] [colour=partition]
                   [partition=...] [kappa=1] [agent=null] [output=graph.png] [seed=0]

Draws the graph of an environment, of a graph file or of a run, and prints one line about it.

  env         an environment, as in training; env.KEY any of its settings, for example env.n_agents=100
  file        a graph file: .json, .graphml, or one edge a line in .csv, .txt or .edges
  checkpoint  a run folder (its best checkpoint) or a checkpoint file; env.KEY may be changed, too
  colour      partition (blocks that touch differ), classes (ego classes, equal surroundings), degree; with a checkpoint
              reward or utility of one greedy episode: a picture shows the mean over its steps, .html plays them
  partition   as in training; by default that of the run, else singletons
  kappa       hops of neighbourhood and ego classes; by default those of the run, else 1
  agent       agent whose neighbourhood is outlined
  output      .png, .svg, .pdf, or .html to zoom, to point at and to play (needs lomaq[html])
  seed        seed of the episode"""
EXAMPLES = """Examples:
  python train.py env=nav mixer=gcn kappa=2
  python train.py -m seed=0,1,2 algo=lomaq,vdn
  python train.py resume=runs/RUN total_env_steps=400000
  python evaluate.py checkpoint=runs/RUN episodes=100 render=episode.gif"""


def usage(config_dirs: Sequence[str | Path] = ()) -> str:
    """What ``lomaq --help`` answers."""
    return f"""usage: lomaq COMMAND [setting=value ...]; lomaq COMMAND --help says more

  train       train, go on with resume=RUN, or several runs at once with -m
  info        what a run is, how far and how good: lomaq info run=RUN; where settings come from: lomaq info config=…
  compare     runs side by side as a table and a picture: lomaq compare run=RUN run=RUN
  evaluate    play greedy episodes: lomaq evaluate checkpoint=RUN
  certify     is the mixer monotone and local? lomaq certify checkpoint=RUN
  decompose   rewards learned from the team reward: lomaq decompose checkpoint=RUN
  export      policies that act without this package: lomaq export checkpoint=RUN
  graph       draw the agents' graph, or an episode on it: lomaq graph env=NAME
  bandit      Multi-OFUL of Section 3.2: lomaq bandit n=6 K=3
  figures     draw the pictures of stored results again: lomaq figures results=results
  completion  completion in bash: lomaq completion --help

{settings(config_dirs)}

Examples:
  lomaq train env=nav mixer=gcn kappa=2
  lomaq train -m seed=0,1,2 algo=lomaq,vdn
  lomaq train resume=runs/RUN total_env_steps=400000
  lomaq evaluate checkpoint=runs/RUN episodes=100 render=episode.gif"""


def settings(config_dirs: Sequence[str | Path] = ()) -> str:
    """The settings that matter, with all that a group can be."""
    found = choices(config_dirs)
    lines = {
        "env=cartpole": f"what to solve: {', '.join(found['env'])}",
        "env.n_agents=15": "how many agents",
        "algo=lomaq": f"which method: {', '.join(methods(config_dirs, learning=False))}",
        "mixer=mlp": f"how utilities mix: {', '.join(found['mixer'])}",
        "kappa=1": "how many hops a block's mixer sees",
        "partition=singletons": "blocks of agents: singletons, pairs, full, communities, [[0,1],[2]], blocks.json",
        "reward=local": f"what a block is trained on: {', '.join(found['reward'])}",
        "learner.lr=0.003": "learning rate",
        "total_env_steps=200000": "the budget: steps of one environment, all agents",
        "seed=0": "of everything random",
        "run_dir=FOLDER": "where files go; runs/<env>-<algo>-<date-time> where it is not given",
        "logger=tensorboard": "besides metrics.csv: tensorboard, wandb, mlflow, or [tensorboard,wandb]",
    }
    described = (
        textwrap.fill(text, 118, initial_indent=f"  {word:<25}", subsequent_indent=" " * 27)
        for word, text in lines.items()
    )
    return "\n".join(["The settings that matter:", *described])


def train_usage(config_dirs: Sequence[str | Path] = ()) -> str:
    """What ``python train.py --help`` and ``lomaq train --help`` answer."""
    groups = "\n".join(f"  {name}: {', '.join(names)}" for name, names in choices(config_dirs).items())
    return f"""Train cooperative agents on a graph with LOMAQ: python train.py [setting=value ...]

{settings(config_dirs)}

{EXAMPLES}

Choices of each group:
{groups}
All settings with their values: python train.py --cfg job; where these come from: lomaq info config="env=nav algo=vdn"
Completion in bash: lomaq completion --help"""
