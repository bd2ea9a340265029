"""The command line; the only room that knows hydra."""

from __future__ import annotations

import errno
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # mistakes reach us as exceptions, which answer in one line

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from lomaq.analysis import RunFiles
from lomaq.analysis.decomposition_plot import draw_decomposition
from lomaq.analysis.results import write_atomic
from lomaq.commands import COMMANDS as SIMPLE
from lomaq.commands import COMPOSED, Options, folder_named, print_table
from lomaq.completion import CONF, PLACES
from lomaq.errors import InputError
from lomaq.report import report
from lomaq.studies.runner import run_study
from lomaq.studies.sweep import Job, run_sweep
from lomaq.training import NonFiniteLossError
from lomaq.training.decompose import decompose_checkpoint
from lomaq.training.film import check_render, film_checkpoint
from lomaq.training.graph_picture import picture_graph
from lomaq.training.run import RUN_DIR_VARIABLE, default_run_dir, train
from lomaq.training.stored import evaluate_checkpoint, open_checkpoint
from lomaq.usage import USAGE

#: What a resumed run may change; everything else decides what the run is.
RESUMABLE = ("total_env_steps", "trainer.", "logger.")
#: Settings that have settings of their own, besides the groups, where hydra sees to it.
SECTIONS = ("evaluation", "learner.objective", "learner.epsilon")
#: Words that ask for several runs.
MULTIRUN = frozenset(("-m", "--multirun"))


def main() -> None:
    """``lomaq``."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help", "help"):
        print(USAGE)
        sys.exit(0 if len(sys.argv) > 1 else 2)
    if sys.argv[1] not in COMMANDS:
        sys.exit(_refuse(f"lomaq: expected one of {', '.join(COMMANDS)}, got {sys.argv[1]!r}"))
    sys.exit(guarded(COMMANDS[sys.argv[1]]))


def train_main() -> None:
    """``python train.py`` and ``lomaq train``."""
    sys.exit(guarded(_train))


def evaluate_main() -> None:
    """``python evaluate.py`` and ``lomaq evaluate``."""
    sys.exit(guarded(_evaluate))


def arguments() -> list[str]:
    """What stands behind the command."""
    rest = sys.argv[1:]
    return rest[1:] if rest and rest[0] in COMMANDS else rest


def guarded(command: Callable[[], int]) -> int:
    """Run ``command``; a person's mistake ends in one line and exit status 2."""
    try:
        return command()
    except InputError as error:
        return _refuse(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        return _refuse(_one_line(error))
    except NonFiniteLossError as error:
        return _refuse(str(error))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOTDIR):
            place = error.filename or "to the run folder"
            return _refuse(f"cannot write {place}: {error.strerror}; what was saved before is whole")
        raise
    except RuntimeError as error:
        if "No space left" in str(error) or "unexpected pos" in str(error):  # how torch's writer reports a full disk
            return _refuse("cannot write the checkpoint: the disk is full; what was saved before is whole")
        raise
    except KeyboardInterrupt as stop:
        return _refuse(f"interrupted; go on with resume={stop or 'FOLDER'}", 130)


def _refuse(line: str, status: int = 2) -> int:
    print(f"error: {line}", file=sys.stderr)
    return status


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("full_key:", "object_type=", "To append to your config"))]
    line = "; ".join(lines).split("; Config search path")[0] or type(error).__name__
    if "env.tuned" in line:
        return "learner: expected fast or paper where no search chose settings for the method, got tuned"
    if line.startswith("Could not override"):
        word = line.split("'")[1]
        return f"{word}: expected a known setting, got an unknown one; python train.py --cfg job lists all"
    if isinstance(error, OverrideParseException) or line.startswith("Ambiguous value"):
        form = "key=value with balanced brackets, values that hold = or , in quotes ('run_dir=\"a=b\"') or with -m"
        return f"command line: expected settings as {form}, got {line.split('; See https')[0].split('; 1. ')[0]}"
    return line


# ---------------------------------------------------------------------- train


def _train() -> int:
    console = Console(stderr=True)
    words = arguments()
    if any(word.startswith("resume=") and word != "resume=null" for word in words):
        _resume(words, console)
        return 0
    if {"-sc", "--shell-completion"} & {*words} and not sys.argv[0].endswith(".py"):
        raise InputError(
            "--shell-completion", "python train.py before it", "lomaq train", "see lomaq completion --help"
        )
    jobs = compose_jobs(words)
    if not jobs:  # --help, --cfg job and the like answer for themselves
        return 0
    config = jobs[0].config
    if config["study"] is not None:
        _study(words, config, console)
        return 0
    if len(jobs) > 1:
        return _sweep(jobs, console)
    run_dir = Path(str(config["run_dir"] or default_run_dir(config)))
    report(train(config, run_dir, console), run_dir)
    return 0


def _sweep(jobs: list[Job], console: Console) -> int:
    folder = Path(str(jobs[0].config["run_dir"] or f"runs/sweep-{time.strftime('%Y%m%d-%H%M%S')}"))
    try:
        summary = run_sweep(jobs, folder, console)
    except KeyboardInterrupt:
        return _refuse(f"interrupted; go on with the same settings and run_dir={folder}", 130)
    heading = ["", "env", "agents", "seeds", "last test", "best test"]
    rows = [
        [name, g["env"], f"{g['n_agents']:,}", str(len(g["seeds"])), f"{g['last_mean']:,.1f}", f"{g['best_mean']:,.1f}"]
        for name, g in summary["groups"].items()
    ]
    print_table([heading, *rows])
    pictures = ", curves.png" if rows else ""
    console.print(f"results.json, summary.json{pictures} and the runs are in {folder}", highlight=False, soft_wrap=True)
    for name, line in summary["failed"].items():
        _refuse(f"{name}: {line}")
    return 2 if summary["failed"] else 0


def compose(words: Sequence[str]) -> list[dict[str, Any]]:
    """The resolved configurations of a command line: one, or one a job with ``-m``.

    Raises:
        InputError: For a word that adds a key.
    """
    return [job.config for job in compose_jobs(words)]


def compose_jobs(words: Sequence[str]) -> list[Job]:
    """The same, each with those of its settings in which they differ.

    Raises:
        InputError: For a word that adds a key.
    """
    for word in words:
        if word.startswith(("+", "~")):
            raise InputError(word, "a known setting as key=value", "a key to add or remove", "leave out the sign")
    composed: list[tuple[list[str], DictConfig]] = []

    def keep(config: DictConfig) -> None:  # read later: of what goes wrong in here, hydra prints a line of its own
        composed.append((list(HydraConfig.get().overrides.task), config))

    own = sys.argv
    with tempfile.TemporaryDirectory() as scratch:  # where hydra leaves its multirun.yaml, which nobody asked for
        several = [f"hydra.sweep.dir={scratch}"] if MULTIRUN.intersection(words) else []
        sys.argv = [own[0], *words, *several]
        try:
            hydra.main(version_base=None, config_path=str(CONF), config_name="train")(keep)()
        except OmegaConfBaseException:  # some are ValueErrors, and say what is wrong
            raise
        except (TypeError, ValueError) as error:  # hydra's, for a number where it wants the name of a group
            raise InputError("command line", "a name for each group, such as learner=fast", str(error)) from error
        finally:
            sys.argv = own
    given = [_parse(task, places=()) for task, _ in composed]
    swept = [key for key in (given[0] if given else {}) if any(other[key] != given[0][key] for other in given)]
    jobs = zip(given, (_plain(config) for _, config in composed), strict=True)
    return [Job({key: mine[key] for key in swept}, config) for mine, config in jobs]


def _plain(config: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    for section in SECTIONS:
        if not isinstance(value := OmegaConf.select(config, section), DictConfig):
            raise InputError(section, "a group of settings", repr(value), f"set one of them, {section}.NAME=…")
    return {str(key): value for key, value in plain.items()}


def compose_one(words: Sequence[str]) -> dict[str, Any]:
    """The configuration of one run, for callers that know nothing of hydra.

    Raises:
        InputError: For everything that :func:`compose` and hydra refuse.
    """
    try:
        (config,) = compose(words)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError("settings", "what train.py takes", _one_line(error)) from error
    return config


def _study(words: Sequence[str], config: dict[str, Any], console: Console) -> None:
    if MULTIRUN.intersection(words):
        raise InputError("-m", "runs without a study", "an experiment", "which varies what it must by itself")
    name = next(word.partition("=")[2] for word in words if word.startswith("experiment="))
    for key in (word.partition("=")[0] for word in words if "run" in config["study"]):
        if not key.startswith(("experiment", "seed", "run_dir", "study.", "-")):
            expected = f"only seed, run_dir and study.* with experiment={name}"
            raise InputError(key, expected, key, "no training run reads it, leave it out")
    folder = Path(str(config["run_dir"] or Path("runs") / name))

    def configuration(more: list[str]) -> dict[str, Any]:
        return {**compose([*words, *more])[0], "run_dir": None, "study": None}

    result = run_study(config["study"], configuration, folder, console)
    print(json.dumps(result, indent=2))
    console.print(f"summary.json, the picture and any runs are in {folder}", highlight=False, soft_wrap=True)


def _resume(words: Sequence[str], console: Console) -> None:
    given = _parse(words)
    path = given.pop("resume")
    refused = [key for key in given if not key.startswith(RESUMABLE)]
    if refused:
        raise InputError(
            refused[0],
            "only total_env_steps, trainer.* and logger.* with resume",
            given[refused[0]],
            "start a new run to change it",
        )
    stored = open_checkpoint(str(path), resume=True)
    before = stored.config["logger"]
    if "name" in before:  # before there could be several
        stored.config["logger"] = compose([f"logger={before['name']}"])[0]["logger"]
    config = _changed(stored.config, given)
    total, done = config["total_env_steps"], stored.state["lomaq"]["env_steps"]
    if isinstance(total, int) and total <= done:
        raise InputError(
            "resume", "a run with steps left", f"{done} of {total} env steps done", "give a larger total_env_steps="
        )
    followed = f"a new total of {total:,}" if "total_env_steps" in given else f"the stored total of {total:,}"
    run_dir = stored.run_dir
    if RUN_DIR_VARIABLE not in os.environ:
        console.print(
            f"resuming {run_dir} at {done:,} env steps; schedules follow {followed} env steps", highlight=False
        )
    report(train(config, run_dir, console, stored.path), run_dir)


# ------------------------------------------------------------------- evaluate


def _evaluate() -> int:
    given = _options(COMPOSED["evaluate"])
    if given is None:
        return 0
    path, episodes, seed, render = (given.pop(name) for name in ("checkpoint", "episodes", "seed", "render"))
    render = None if render is None else check_render(render)
    stored = open_checkpoint(str(path), resume=False)
    config = _changed(stored.config, given)
    result = evaluate_checkpoint(stored, config, episodes, seed)
    if render is not None:
        film_checkpoint(stored, config, seed, render)
        result |= {} if render == "human" else {"film": render}
    print(json.dumps(result))
    return 0


def _decompose() -> int:
    given = _options(COMPOSED["decompose"])
    if given is None:
        return 0
    path, seed, output = (given.pop(name) for name in ("checkpoint", "seed", "output"))
    stored = open_checkpoint(str(path), resume=False)
    folder = stored.run_dir if output is None else folder_named("output", output)
    config, env_steps = _changed(stored.config, given), stored.state["lomaq"]["env_steps"]
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


def _graph() -> int:
    given = _options(COMPOSED["graph"])
    if given is None:
        return 0
    env, file, checkpoint = (given.pop(name) for name in ("env", "file", "checkpoint"))
    changes = {key: given.pop(key) for key in [*given] if key.startswith("env.")}
    if [env, file, checkpoint].count(None) != 2:
        sources = [f"{k}={v}" for k, v in (("env", env), ("file", file), ("checkpoint", checkpoint)) if v is not None]
        raise InputError("graph", "one of env=NAME, file=PATH and checkpoint=PATH", " and ".join(sources) or "none")
    if file is not None and changes:
        raise InputError(next(iter(changes)), "only with env=NAME or checkpoint=PATH", f"file={file}", "leave it out")
    stored = None if checkpoint is None else open_checkpoint(str(checkpoint), resume=False)
    config = None if stored is None else _changed(stored.config, changes)
    if env is not None:
        config = compose([word for word in arguments() if word.startswith(("env=", "env."))])[0]
    print(picture_graph(config, None if file is None else str(file), stored, **given))
    return 0


def _simple(name: str) -> int:
    options, act = SIMPLE[name]
    given = _options(options)
    return 0 if given is None else act(given)


def _options(options: Options) -> dict[str, Any] | None:
    """What stands behind a command, over its defaults; None where help was asked for and given.

    Raises:
        InputError: For other keys, or where one that is needed is not given.
    """
    words = arguments()
    if any(word in ("-h", "--help") for word in words):
        print(options.usage)
        return None
    return options.check(_parse(words, repeated=options.needed if options.repeated else None))


def _parse(words: Sequence[str], repeated: str | None = None, places: Sequence[str] = PLACES) -> dict[str, Any]:
    """``key=value`` words as hydra reads them, without a configuration to compose.

    Args:
        words: The words.
        repeated: A key that may come several times, and whose value is the list of all that it was given.
        places: Keys whose values are paths, taken as they are: names of runs have signs that mean something to hydra.
    """
    given: dict[str, Any] = {}
    for word in words:
        key, _, text = word.partition("=")
        value: Any = text
        if key not in places or text in ("", "null") or text[0] in "'\"[":
            (override,) = OverridesParser.create().parse_overrides(overrides=[word])
            if override.is_add() or override.is_delete() or override.is_sweep_override():
                raise InputError(str(override.input_line), "one known setting as key=value", "another form")
            key, value = override.key_or_group, override.value()
        if key == repeated:
            given[key] = given.get(key, []) + (value if isinstance(value, list) else [value])
        else:
            given[key] = value
    return given


def _changed(config: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """``config`` with known keys set anew."""
    copy = OmegaConf.create(config)
    OmegaConf.set_struct(copy, True)
    for key, value in given.items():
        if OmegaConf.select(copy, key, default="_missing_") == "_missing_":
            raise InputError(key, "a setting of the stored run", "an unknown one", "see config.yaml of the run")
        OmegaConf.update(copy, key, value, force_add=False)
    return _plain(copy)


COMMANDS: dict[str, Callable[[], int]] = {
    "train": _train,
    "evaluate": _evaluate,
    "decompose": _decompose,
    "graph": _graph,
    **{name: partial(_simple, name) for name in SIMPLE},
}
