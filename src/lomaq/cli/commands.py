"""The commands other than ``train``; their signatures are their settings, their docstrings what ``--help`` prints."""

from __future__ import annotations

import json
import shlex
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from lomaq.analysis import compare as comparison
from lomaq.analysis.certificate.checkpoint import certify_checkpoint
from lomaq.analysis.episode import decompose_checkpoint
from lomaq.analysis.stored import evaluate_checkpoint, open_checkpoint
from lomaq.cli.command import Command
from lomaq.cli.completion import bash_script
from lomaq.cli.origins import origins
from lomaq.cli.tables import print_comparison, print_report
from lomaq.config import choices, compose
from lomaq.config.words import word_of
from lomaq.envs import BatchedEnv
from lomaq.errors import InputError
from lomaq.export import ParityError, export_checkpoint
from lomaq.inputs.plain import changed
from lomaq.inputs.targets import find_class, import_modules
from lomaq.plots.certificate import draw_certificate
from lomaq.plots.curves import draw_curves
from lomaq.plots.decomposition import draw_decomposition
from lomaq.plots.film import check_render, film_checkpoint
from lomaq.plots.graph import picture_graph
from lomaq.plots.influence import picture_influence
from lomaq.runs import RunFiles
from lomaq.runs.files import write_atomic
from lomaq.runs.lock import free_folder
from lomaq.studies.bandit import run_bandits
from lomaq.studies.figures import draw_all
from lomaq.testing import examine
from lomaq.testing.checks import Make
from lomaq.training.build import env_maker, with_sample


def folder_named(name: str, value: object) -> Path:
    """The folder that ``value`` names, which need not exist.

    Raises:
        InputError: If it is a file.
    """
    path = Path(str(value))
    if path.exists() and not path.is_dir():
        raise InputError(name, "a folder, new or not", f"the file {path}")
    return path


def info(run: str | None = None, config: list[str] | None = None) -> None:
    """What a run is, how far and how good: lomaq info run=RUN; where settings come from: lomaq info config=…

    For a run: its state, its last and best test, when it first reached each threshold, its speed, its files, and how to
    continue or play it; also while it runs. No checkpoint is opened.

    For settings: each setting that a training with them would have, and where its value comes from: the environment,
    the search for a method's settings, the learner, the method, the command line.

    Args:
        run: FOLDER of a run.
        config: SETTINGS as in training: config="env=nav algo=vdn learner.lr=0.1"; --config-dir FOLDER among them, too.
    """
    if (run is None) == (config is None):
        raise InputError("info", "run=PATH or config=SETTINGS", "neither" if run is None else "both")
    if run is not None:
        lines = comparison.describe_run(Path(str(run)))
        width = max(14, *(len(name) + 1 for name in lines))
        for name, text in lines.items():
            print(f"{name:<{width}}{text}")
    else:
        for key, (value, source) in origins(shlex.split(" ".join(config or []))).items():
            print(f"{key:<40}{word_of(value):<30} {source}")


def compare(run: list[str], output: str = ".") -> None:
    """Show runs side by side, as a table and a picture: lomaq compare run=A run=B.

    The table has the settings that differ and the results, also in compare.json; compare.png has the test returns. It
    works while they run, too. No checkpoint is opened.

    Args:
        run: FOLDER of a run, or a pattern such as run='runs/cartpole-*', as often as needed; run=[A,B] is the same.
        output: Where the two files go.
    """
    folder = folder_named("output", output)
    found = comparison.compare([str(word) for word in run])
    print_comparison(found)
    found.write(folder)
    draw_curves(folder / "compare.png", found.panels, "lowest to highest episode")
    print(f"picture    {folder / 'compare.png'}\nnumbers    {folder / 'compare.json'}")


def evaluate(
    checkpoint: str,
    episodes: int = 20,
    seed: int = 0,
    sample: bool | None = None,
    render: str | None = None,
    **settings: Any,
) -> None:
    """Play test episodes with a checkpoint: lomaq evaluate checkpoint=RUN.

    Prints one JSON object.

    Args:
        checkpoint: PATH of a run folder (its best checkpoint) or of a checkpoint file.
        episodes: Episodes to play.
        seed: Seed of their starts, and of actions that are drawn.
        sample: true if agents draw from their policies, false if each takes its best action; by default as the run has
            it in evaluation.sample. Methods that learn values, such as lomaq, have no policies to draw from.
        render: FILE|human for a film of the episode that episodes=1 plays: a .gif or .mp4 file (needs lomaq[film]), or
            human for a window.
        **settings: Any setting of the environment, for example env.n_agents=200.
    """
    film = None if render is None else check_render(render)
    stored = open_checkpoint(str(checkpoint), resume=False)
    config = with_sample(changed(stored.config, settings), sample)
    result = evaluate_checkpoint(stored, config, episodes, seed)
    if film is not None:
        film_checkpoint(stored, config, seed, film)
        result |= {} if film == "human" else {"film": film}
    print(json.dumps(result))


def certify(checkpoint: str, output: str | None = None, **options: Any) -> int:
    """Is the mixer monotone and local, or are the critics? lomaq certify checkpoint=RUN.

    Examines it at states that its agents visit, prints one line a check, and writes certificate.json and
    certificate.png. Exit status 1 if the mixer was found not to be monotone, not local, or no function of one state, or
    if greedy actions do not maximise (IGM, QSM) and it is not soft. Of agents that ascend critics' advantages it tells
    how much of the policy gradient comes from how far; status 1 if the critics are not local, or no function of one
    state. docs/certificate.md explains what each line proves and what it does not.

    Args:
        checkpoint: PATH of a run folder (its best checkpoint) or of a checkpoint file.
        output: FOLDER for the files; by default the run folder.
    """
    stored = open_checkpoint(str(checkpoint), resume=False)
    folder = stored.run_dir if output is None else folder_named("output", output)
    certificate = certify_checkpoint(stored, **options)
    config = stored.config
    folder.mkdir(parents=True, exist_ok=True)
    RunFiles(folder).write_json("certificate.json", {"checkpoint": str(stored.path), **certificate.to_json()})
    subject = f"{config[certificate.part]['name']} {certificate.subject}, κ = {certificate.kappa}"
    title = f"{subject}, on {config['env']['name']} after {stored.env_steps:,} env steps"
    draw_certificate(folder / "certificate.png", certificate, title)
    print("\n".join(certificate.lines()))
    print(f"report     {folder / 'certificate.json'}\npicture    {folder / 'certificate.png'}")
    return 0 if certificate.passed else 1


def decompose(checkpoint: str, seed: int = 0, output: str | None = None, **settings: Any) -> None:
    """Compare learned rewards with the environment's own: lomaq decompose checkpoint=RUN.

    Plays one greedy episode with a checkpoint of algo=lomaq_rd or reward=decomposed, whose rewards were learned from
    the team reward. Prints a summary, and writes decomposition.csv, decomposition.json and decomposition.png.
    docs/reward-decomposition.md explains them.

    Args:
        checkpoint: PATH of a run folder (its best checkpoint) or of a checkpoint file.
        seed: Seed of the episode.
        output: FOLDER for the files; by default the run folder.
        **settings: Any setting of the environment, for example env.n_agents=30.
    """
    stored = open_checkpoint(str(checkpoint), resume=False)
    folder = stored.run_dir if output is None else folder_named("output", output)
    config, env_steps = changed(stored.config, settings), stored.env_steps
    episode = decompose_checkpoint(stored, config, seed)
    name = config["env"]["name"]
    about = {"checkpoint": str(stored.path), "env": name, "trained_env_steps": env_steps, "seed": seed}
    summary = {**about, **episode.to_json()}
    write_atomic(folder / "decomposition.csv", episode.to_csv())
    RunFiles(folder).write_json("decomposition.json", summary)
    title = f"Learned rewards on {name} after {env_steps:,} env steps"
    rewards = episode.learned, episode.true
    draw_decomposition(folder / "decomposition.png", *rewards, episode.tolerance, title, episode.names)
    print(json.dumps(summary, indent=2))
    print(f"{folder / 'decomposition'}.csv, .json and .png are written", file=sys.stderr)


def export(checkpoint: str, format: Any = "onnx", output: str | None = None) -> int:
    """Write policies that act without this package: lomaq export checkpoint=RUN.

    Writes one for each agent type, and contract.json, which describes their inputs and outputs. Checks on 1,000
    observations of every agent that the policies act as the trained network does. Exit status 1, and nothing written,
    if they do not. docs/export.md explains how to run them; examples/run_policy.py does, without this package.

    Args:
        checkpoint: PATH of a run folder (its best checkpoint) or of a checkpoint file.
        format: Format onnx (needs lomaq[export]) or torch (.pt2, for PyTorch alone).
        output: FOLDER, new or empty; by default policy-onnx or policy-torch in the run folder.
    """
    stored = open_checkpoint(str(checkpoint), resume=False)
    folder = stored.run_dir / f"policy-{format}" if output is None else Path(str(output))
    try:
        contract, parity = export_checkpoint(stored, folder, format)
    except ParityError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"parity     {parity.line()}")
    for policy in contract["policies"]:
        print(f"policy     {folder / policy['file']}, {len(policy['agents'])} agents")
    print(f"contract   {folder / 'contract.json'}")
    return 0


def check_env(target: str, **settings: Any) -> int:
    """Does an environment keep its contract? lomaq check-env my_env.MyEnv n_agents=5.

    Plays it and prints a table: shapes and types, seeds, independent environments, stored states, time limits, masks,
    rewards, the graph against measured influence, and speed. Exit status 1 if something failed, not for a warning.
    docs/how-to/own-environment.md explains each line; lomaq.testing.check_env does the same in a test.

    Args:
        target: TARGET, a class as MODULE.CLASS of a file in this folder or of what is installed, or the name of an
            environment as in training.
        **settings: An argument of its constructor, for example n_agents=5.
    """
    report = examine(*_environment(str(target), settings))
    print_report(report)
    return 1 if report.failures else 0


def _environment(target: str, settings: dict[str, Any]) -> tuple[Make, str]:
    """What makes the environments that ``target`` names, and their name."""
    settings = {key.removeprefix("env."): value for key, value in settings.items()}
    if target in choices()["env"]:
        config = compose([f"env={target}", *(f"env.{key}={word_of(value)}" for key, value in settings.items())])
        return env_maker(config), target
    module, _, name = target.replace(":", ".").rpartition(".")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        raise InputError("target", f"MODULE.CLASS, or one of {', '.join(choices()['env'])}", repr(target))
    import_modules([module], "target")
    kind: type = BatchedEnv  # abstract, which a type checker would not have
    find_class(path := f"{module}.{name}", [kind], "target")
    return env_maker({"env": {"_target_": path, **settings}}), path


def graph(env: str | None = None, file: str | None = None, checkpoint: str | None = None, **settings: Any) -> None:
    """Draw the agents' graph, or an episode on it: lomaq graph env=NAME.

    Takes one of env, file and checkpoint, and prints one line about the graph.

    Args:
        env: NAME of an environment, as in training.
        file: PATH of a graph file: .json, .graphml, .gexf, .gml, .graph or .metis, or an edge list or a matrix in .csv,
            .txt and others; each may have .gz behind it.
        checkpoint: PATH of a run folder (its best checkpoint) or of a checkpoint file.
        **settings: Any setting of the environment, with env or checkpoint, for example env.n_agents=100.
    """
    changes = {key: settings.pop(key) for key in [*settings] if key.startswith("env.")}
    sources = {"env": env, "file": file, "checkpoint": checkpoint}
    given = " and ".join(f"{key}={value}" for key, value in sources.items() if value is not None)
    if [*sources.values()].count(None) != 2:
        raise InputError("graph", "one of env=NAME, file=PATH and checkpoint=PATH", given or "none")
    if file is not None and changes:
        raise InputError(next(iter(changes)), "only with env=NAME or checkpoint=PATH", given, "leave it out")
    stored = None if checkpoint is None else open_checkpoint(str(checkpoint), resume=False)
    config = None if stored is None else changed(stored.config, changes)
    if env is not None:
        config = compose([f"env={env}", *(f"{key}={word_of(value)}" for key, value in changes.items())])
    print(picture_graph(config, None if file is None else str(file), stored, **settings))


def discover(env: str, output: str = ".", **settings: Any) -> None:
    """Measure whose actions change what whom observes or is paid: lomaq graph discover env=NAME.

    Plays random episodes again and again from the same seeds, each time with another action of one agent. Writes
    influence.csv (the matrix), influence.json (a graph file, which env.graph= takes) and influence.png.

    Args:
        env: NAME of an environment, as in training.
        output: FOLDER for the files.
        **settings: Any setting of the environment, for example env.n_agents=100.
    """
    changes = {key: settings.pop(key) for key in [*settings] if key.startswith("env.")}
    config = compose([f"env={env}", *(f"{key}={word_of(value)}" for key, value in changes.items())])
    print("\n".join(picture_influence(config, folder_named("output", output), **settings)))


def bandit(run_dir: str | None = None, **settings: Any) -> None:
    """Compare partitions in Multi-OFUL of Section 3.2: lomaq bandit n=6 K=3.

    Plays Algorithm 1 with each partition, and writes bandit.json and bandit.png.

    Args:
        run_dir: FOLDER for the two files; by default a new one in runs.
    """
    default = Path("runs", f"bandit-{time.strftime('%Y%m%d-%H%M%S')}")
    with free_folder(default) if run_dir is None else nullcontext(folder_named("run_dir", run_dir)) as folder:
        run_bandits(folder, Console(stderr=True), **settings)
    print(f"bandit.json and bandit.png are in {folder}", file=sys.stderr)


def figures(results: str = "results") -> None:
    """Draw the pictures of stored results again: lomaq figures results=results.

    Needs their numbers, and no checkpoint. Draws the pictures of the studies (fig5_*, fig6, fig8, fig9, dilemma,
    voltage) and of bandits, and curves.png for each other folder of runs.

    Args:
        results: Folder of folders of results.
    """
    drawn, left = draw_all(Path(str(results)))
    for path in drawn:
        print(f"drawn      {path}")
    for reason in left.values():
        print(f"left out   {reason}")


def completion(config_dirs: tuple[str, ...] = ()) -> None:
    """Complete commands, settings and choices in bash: lomaq completion --help.

    Prints a bash script. Bash finds it in this file, or source it; make it again when settings change:
      lomaq completion > ~/.local/share/bash-completion/completions/lomaq
    For python train.py hydra has its own, which takes seconds at each key:
      eval "$(python train.py --shell-completion install=bash)"

    Args:
        config_dirs: Folder of further settings.
    """
    print(bash_script({name: [*command.defaults] for name, command in COMMANDS.items()}, config_dirs), end="")


#: Name of each command → what it does.
COMMANDS = {
    "info": Command(info),
    "compare": Command(compare),
    "evaluate": Command(evaluate),
    "certify": Command(certify, certify_checkpoint),
    "decompose": Command(decompose),
    "export": Command(export),
    "check-env": Command(check_env, subject="target"),
    "graph": Command(graph, picture_graph),
    "graph discover": Command(discover, picture_influence),
    "bandit": Command(bandit, run_bandits),
    "figures": Command(figures),
    "completion": Command(completion),
}
