"""The commands other than ``train``, and the settings that each takes."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lomaq.analysis.certificate import certify_checkpoint
from lomaq.analysis.compare import compare, describe_run
from lomaq.analysis.episode import decompose_checkpoint
from lomaq.cli.completion import bash_script
from lomaq.cli.origins import origins
from lomaq.cli.usage import (
    BANDIT_USAGE,
    CERTIFY_USAGE,
    COMPARE_USAGE,
    COMPLETION_USAGE,
    DECOMPOSE_USAGE,
    EVALUATE_USAGE,
    EXPORT_USAGE,
    FIGURES_USAGE,
    GRAPH_USAGE,
    INFO_USAGE,
)
from lomaq.config import PLACES, changed, compose, folders_of, parse, word_of
from lomaq.errors import InputError
from lomaq.export import ParityError, export_checkpoint
from lomaq.plots.certificate import draw_certificate
from lomaq.plots.curves import draw_curves
from lomaq.plots.decomposition import draw_decomposition
from lomaq.plots.film import check_render, film_checkpoint
from lomaq.plots.graph import picture_graph
from lomaq.runs import RunFiles
from lomaq.runs.files import write_atomic
from lomaq.studies.bandit import DEFAULTS as BANDIT
from lomaq.studies.bandit import run_bandits
from lomaq.studies.figures import draw_all
from lomaq.training.stored import evaluate_checkpoint, open_checkpoint

HELP = ("-h", "--help")


@dataclass(frozen=True)
class Options:
    """The settings that a command takes.

    Attributes:
        usage: Its help.
        defaults: What may be given, with the value where it is not.
        needed: What must be given; None: nothing.
        free: Beginning of further keys that may be given; None: there are none.
        repeated: A key that may be given several times, and is a list; None: there is none.
        folders: Whether ``--config-dir FOLDER`` may be given, as ``config_dirs``.
    """

    usage: str
    defaults: dict[str, Any] = field(default_factory=dict)
    needed: str | None = None
    free: str | None = None
    repeated: str | None = None
    folders: bool = False

    @property
    def keys(self) -> list[str]:
        """Every key but the free ones."""
        return [*self.defaults, *([self.needed] if self.needed else [])]

    def check(self, given: dict[str, Any]) -> dict[str, Any]:
        """What was given, over the defaults.

        Raises:
            InputError: For an unknown key, or where ``needed`` is not given.
        """
        if self.needed is not None and self.needed not in given:
            usage = self.usage.splitlines()[0].removeprefix("usage: ")
            raise InputError(self.needed, f"{self.needed}=PATH", "none", f"usage: {usage}")
        for key in given:
            if key not in self.keys and not (self.free and key.startswith(self.free)):
                raise InputError(key, ", ".join([*self.keys, *([self.free + "*"] if self.free else [])]), given[key])
        return {**self.defaults, **given}


def folder_named(name: str, value: object) -> Path:
    """The folder that ``value`` says, which need not exist.

    Raises:
        InputError: If it is a file.
    """
    path = Path(str(value))
    if path.exists() and not path.is_dir():
        raise InputError(name, "a folder, new or not", f"the file {path}")
    return path


def _evaluate(given: dict[str, Any]) -> int:
    path, episodes, seed, render = (given.pop(name) for name in ("checkpoint", "episodes", "seed", "render"))
    render = None if render is None else check_render(render)
    stored = open_checkpoint(str(path), resume=False)
    config = changed(stored.config, given)
    result = evaluate_checkpoint(stored, config, episodes, seed)
    if render is not None:
        film_checkpoint(stored, config, seed, render)
        result |= {} if render == "human" else {"film": render}
    print(json.dumps(result))
    return 0


def _decompose(given: dict[str, Any]) -> int:
    path, seed, output = (given.pop(name) for name in ("checkpoint", "seed", "output"))
    stored = open_checkpoint(str(path), resume=False)
    folder = stored.run_dir if output is None else folder_named("output", output)
    config, env_steps = changed(stored.config, given), stored.env_steps
    episode = decompose_checkpoint(stored, config, seed)
    name = config["env"]["name"]
    about = {"checkpoint": str(stored.path), "env": name, "trained_env_steps": env_steps, "seed": seed}
    summary = {**about, **episode.to_json()}
    write_atomic(folder / "decomposition.csv", episode.to_csv())
    RunFiles(folder).write_json("decomposition.json", summary)
    title = f"Learned rewards on {name} after {env_steps:,} env steps"
    draw_decomposition(folder / "decomposition.png", episode.learned, episode.true, episode.tolerance, title)
    print(json.dumps(summary, indent=2))
    where = folder / "decomposition"
    Console(stderr=True).print(
        f"{where}.csv, .json and .png are written", highlight=False, markup=False, soft_wrap=True
    )
    return 0


def _graph(given: dict[str, Any]) -> int:
    env, file, checkpoint = (given.pop(name) for name in ("env", "file", "checkpoint"))
    changes = {key: given.pop(key) for key in [*given] if key.startswith("env.")}
    if [env, file, checkpoint].count(None) != 2:
        sources = [f"{k}={v}" for k, v in (("env", env), ("file", file), ("checkpoint", checkpoint)) if v is not None]
        raise InputError("graph", "one of env=NAME, file=PATH and checkpoint=PATH", " and ".join(sources) or "none")
    if file is not None and changes:
        raise InputError(next(iter(changes)), "only with env=NAME or checkpoint=PATH", f"file={file}", "leave it out")
    stored = None if checkpoint is None else open_checkpoint(str(checkpoint), resume=False)
    config = None if stored is None else changed(stored.config, changes)
    if env is not None:
        config = compose([f"env={env}", *(f"{key}={word_of(value)}" for key, value in changes.items())])
    print(picture_graph(config, None if file is None else str(file), stored, **given))
    return 0


def _certify(given: dict[str, Any]) -> int:
    path, output = str(given.pop("checkpoint")), given.pop("output")
    stored = open_checkpoint(path, resume=False)
    folder = stored.run_dir if output is None else folder_named("output", output)
    certificate = certify_checkpoint(stored, **given)
    config, env_steps = stored.config, stored.env_steps
    folder.mkdir(parents=True, exist_ok=True)
    RunFiles(folder).write_json("certificate.json", {"checkpoint": str(stored.path), **certificate.to_json()})
    mixer = f"{config['mixer']['name']} mixer, κ = {config['kappa']}"
    title = f"{mixer}, on {config['env']['name']} after {env_steps:,} env steps"
    draw_certificate(folder / "certificate.png", certificate, title)
    console = Console(highlight=False, markup=False)
    for line in certificate.lines():
        console.print(line, soft_wrap=True)
    console.print(f"report     {folder / 'certificate.json'}\npicture    {folder / 'certificate.png'}", soft_wrap=True)
    return 0 if certificate.passed else 1


def _export(given: dict[str, Any]) -> int:
    stored, form, output = open_checkpoint(str(given["checkpoint"]), resume=False), given["format"], given["output"]
    folder = stored.run_dir / f"policy-{form}" if output is None else Path(str(output))
    try:
        contract, parity = export_checkpoint(stored, folder, form)
    except ParityError as error:
        Console(stderr=True, highlight=False, markup=False).print(f"error: {error}", soft_wrap=True)
        return 1
    console = Console(highlight=False, markup=False)
    console.print(f"parity     {parity.line()}", soft_wrap=True)
    for policy in contract["policies"]:
        console.print(f"policy     {folder / policy['file']}, {len(policy['agents'])} agents", soft_wrap=True)
    console.print(f"contract   {folder / 'contract.json'}", soft_wrap=True)
    return 0


def _bandit(given: dict[str, Any]) -> int:
    folder = folder_named("run_dir", given.pop("run_dir") or f"runs/bandit-{time.strftime('%Y%m%d-%H%M%S')}")
    console = Console(stderr=True)
    run_bandits(folder, console, **given)
    console.print(f"bandit.json and bandit.png are in {folder}", highlight=False, soft_wrap=True)
    return 0


def _info(given: dict[str, Any]) -> int:
    run, settings = given["run"], given["config"]
    if (run is None) == (settings is None):
        raise InputError("info", "run=PATH or config=SETTINGS", "neither" if run is None else "both")
    console = Console(highlight=False, markup=False)
    if run is not None:
        for name, text in describe_run(Path(str(run))).items():
            console.print(f"{name:<14}{text}", soft_wrap=True)
    else:
        for key, (value, source) in origins(shlex.split(" ".join(settings))).items():
            console.print(f"{key:<40}{word_of(value):<30} {source}", soft_wrap=True)
    return 0


def _compare(given: dict[str, Any]) -> int:
    output = folder_named("output", given["output"])
    found = compare([str(word) for word in given["run"]])
    table = [["", *found.names], *([row, *map(_cell, values)] for row, values in found.rows.items())]
    print_table(table if len(found.names) <= len(found.rows) else [list(line) for line in zip(*table, strict=True)])
    found.write(output)
    draw_curves(output / "compare.png", found.panels, "lowest to highest episode")
    console = Console(highlight=False, markup=False)
    console.print(f"picture    {output / 'compare.png'}\nnumbers    {output / 'compare.json'}", soft_wrap=True)
    return 0


def _figures(given: dict[str, Any]) -> int:
    drawn, left = draw_all(Path(str(given["results"])))
    console = Console(highlight=False, markup=False)
    for path in drawn:
        console.print(f"drawn      {path}", soft_wrap=True)
    for reason in left.values():
        console.print(f"left out   {reason}", soft_wrap=True)
    return 0


def _completion(given: dict[str, Any]) -> int:
    keys = {name: options.keys for name, (options, _) in COMMANDS.items()}
    print(bash_script(keys, given["config_dirs"]), end="")
    return 0


def run_command(name: str, words: Sequence[str]) -> int:
    """Run a command, or print its help where that is asked for.

    Raises:
        InputError: For an unknown setting, or where one that is needed is not given.
    """
    options, act = COMMANDS[name]
    if {*words} & {*HELP}:
        print(options.usage)
        return 0
    words, folders = folders_of(words) if options.folders else (words, [])
    given = options.check(parse(words, options.repeated, (*PLACES, "config")))
    return act({**given, "config_dirs": folders} if options.folders else given)


def print_table(lines: list[list[str]]) -> None:
    """Print a table whose first line and first column are headings, as wide as it needs to be where no screen is."""
    table = Table()
    for number, heading in enumerate(lines[0]):
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    for line in lines[1:]:
        table.add_row(*line)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = max(80, console.measure(table, options=console.options.update(max_width=10_000)).maximum)
    console.print(table)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:,.6g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)


_BANDIT = " ".join(f"[{key}={json.dumps(value).replace(' ', '')}]" for key, value in BANDIT.items())
_CERTIFY = {"states": 64, "epsilon": 0.1, "tolerance": 0.05, "samples": 64, "seed": 0, "output": None}
_GRAPH = dict.fromkeys(("env", "file", "checkpoint", "partition", "kappa", "agent"))
#: The settings that each command takes, and what it does with them, to its exit status.
COMMANDS: dict[str, tuple[Options, Callable[[dict[str, Any]], int]]] = {
    "evaluate": (
        Options(EVALUATE_USAGE, {"episodes": 20, "seed": 0, "render": None}, "checkpoint", free="env."),
        _evaluate,
    ),
    "decompose": (Options(DECOMPOSE_USAGE, {"seed": 0, "output": None}, "checkpoint", free="env."), _decompose),
    "graph": (
        Options(GRAPH_USAGE, {**_GRAPH, "colour": "partition", "output": "graph.png", "seed": 0}, free="env."),
        _graph,
    ),
    "info": (Options(INFO_USAGE, {"run": None, "config": None}, repeated="config"), _info),
    "compare": (Options(COMPARE_USAGE, {"output": "."}, "run", repeated="run"), _compare),
    "certify": (Options(CERTIFY_USAGE, _CERTIFY, "checkpoint"), _certify),
    "export": (Options(EXPORT_USAGE, {"format": "onnx", "output": None}, "checkpoint"), _export),
    "bandit": (
        Options(f"usage: lomaq bandit {_BANDIT} [run_dir=FOLDER]\n\n{BANDIT_USAGE}", {**BANDIT, "run_dir": None}),
        _bandit,
    ),
    "figures": (Options(FIGURES_USAGE, {"results": "results"}), _figures),
    "completion": (Options(COMPLETION_USAGE, folders=True), _completion),
}
