"""Settings composed from ``conf``, and parsed: the only file that knows hydra.

Hydra's compose API keeps one process-wide object; it is put aside while settings are composed and put back afterwards,
so that this works inside somebody's own Hydra application and in several threads.
"""

from __future__ import annotations

import inspect
import io
import itertools
import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra import version
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from lomaq.config.groups import CONF, choices, methods, read_yaml
from lomaq.config.kept import composed
from lomaq.config.known import check_recommended, unknown_choice, unknown_setting
from lomaq.config.schema import check_settings
from lomaq.config.words import (
    CONFIG_DIR,
    MULTIRUN,
    PLACES,
    RENAMED,
    as_typed,
    flat,
    folders_of,
    opened,
    place_of,
    places_of,
)
from lomaq.errors import INSTALL, InputError, check_choice
from lomaq.inputs.plain import check_sections
from lomaq.inputs.targets import import_modules, import_targets, modules_of, name_functions, our_class
from lomaq.inputs.text import check_place, parse_yaml, read_text, yaml_reason

#: Flags of hydra that print something.
PRINTING = ("--cfg", "-c", "--resolve", "--package", "-p", "--info", "-i", "--shell-completion", "-sc")
#: Who may act, ``algo.policy``.
POLICIES = ("utilities", "oracle", "baseline", "random")
#: Parts of a run whose classes, with the settings that these name as ``identity``, make a method what it is.
PARTS = ("mixer", "reward", "learner.objective", "agent")
_COMPOSING = threading.RLock()
#: A method, a learner and the files of further folders → the identity of that method alone, and what may differ.
_ALONE: dict[tuple[Any, ...], tuple[dict[str, Any], dict[str, Any]]] = {}


@dataclass(frozen=True)
class Job:
    """One of the runs that a command line asks for: the ``settings`` in which they differ, and its whole ``config``."""

    settings: dict[str, Any]
    config: dict[str, Any]


def compose(words: Sequence[str]) -> dict[str, Any]:
    """The resolved configuration of one run; ``method`` is the name of its method, or ``custom`` where it is none.

    The words are the user's own: modules of the classes that they name, and of ``modules=NAME``, are imported.

    Args:
        words: Settings as on the command line, ``key=value``, ``--config-dir FOLDER`` and ``modules=NAME``.

    Raises:
        InputError: If a setting is unknown or impossible, or the words ask for several runs.
    """
    jobs = compose_jobs(words)
    if len(jobs) > 1:
        raise InputError("-m", "settings of one run", f"{len(jobs)} runs", "leave it out")
    return jobs[0].config


def compose_jobs(words: Sequence[str]) -> list[Job]:
    """The same for one run or, with ``-m``, for all combinations of the values in lists such as ``seed=0,1,2``."""
    words, modules = modules_of(words)
    words, folders = folders_of(words)
    if modules:
        import_modules(modules)
    several = bool({*MULTIRUN} & {*words})
    values: dict[str, list[str]] = {}  # a key that comes again counts as it came last, as in hydra
    for word in [word for word in words if word not in MULTIRUN]:
        if "=" not in word and not word.startswith(("+", "~")):
            raise _alone(word, folders)
        override = _parse_word(word)
        if word.startswith(("+", "~")):
            raise InputError(word, "a known setting as key=value", "a key to add or remove", "leave out the sign")
        if override.is_sweep_override() and not several:
            remedy = f"-m {word} trains a run for each, values that hold = or , in quotes ('key=\"a,b\"') are one"
            raise InputError(override.key_or_group, "one value without -m", f"several values in {word}", remedy)
        key, swept = override.key_or_group, override.is_sweep_override()
        values.pop(key, None)
        values[key] = [f"{key}={value}" for value in override.sweep_string_iterator()] if swept else [word]
    varied = [key for key, choice in values.items() if len(choice) > 1]
    jobs = []
    with _hydra(folders) as configure:
        for task in itertools.product(*values.values()):
            given = parse(task, places=()) if varied else {}
            jobs.append(Job({key: given[key] for key in varied}, _resolved(task, configure, folders)))
    return jobs


def parse(words: Sequence[str], repeated: str | None = None, places: Sequence[str] = PLACES) -> dict[str, Any]:
    """``key=value`` words as hydra reads them, without a configuration to compose.

    Args:
        words: The words.
        repeated: A key that may come several times, and whose value is the list of all that it was given.
        places: Keys whose values are taken as they are: names of runs have signs that mean something to hydra.

    Raises:
        InputError: If a word has another form.
    """
    given: dict[str, Any] = {}
    for word in words:
        key, _, text = word.partition("=")
        value: Any = places_of(text) if key == repeated else place_of(text)
        if key in (PLACES if key in places else ()):
            for place in value if isinstance(value, list) else [value]:
                check_place(key, place)
        if key not in places or text in ("", "null"):
            override = _parse_word(as_typed(word))
            if override.is_add() or override.is_delete() or override.is_sweep_override():
                raise InputError(word, "one known setting as key=value", "another form")
            key, value = override.key_or_group, override.value()
        if key == repeated:
            given[key] = given.get(key, []) + (value if isinstance(value, list) else [value])
        else:
            given[key] = value
    return given


def layers(words: Sequence[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What the configuration of one run is made of, for words that compose.

    Returns:
        The configuration with its interpolations as they are written; and each of its files, such as ``env/nav.yaml`` →
        its flat content, in the order in which later ones override earlier ones.
    """
    words, folders = folders_of(modules_of(words)[0])
    with _hydra(folders) as configure:
        config = OmegaConf.to_container(configure(words), resolve=False)
        loader = GlobalHydra.instance().config_loader()
        defaults = loader.compute_defaults_list("train", [*words, *_search(folders)], RunMode.RUN).defaults
    assert isinstance(config, dict)
    contents = {"custom_env.yaml": flat(read_yaml(CONF / "custom_env.yaml"), "env.")}
    for default in defaults:
        name = f"{default.config_path}.yaml"
        file = next((file for folder in (CONF, *map(Path, folders)) if (file := folder / name).is_file()), None)
        if file is not None:  # hydra's own are elsewhere
            contents[name] = flat(read_yaml(file), f"{default.package}." if default.package else "")
    return {str(key): value for key, value in config.items()}, contents


def hydra_flag(words: Sequence[str]) -> None:
    """Let hydra itself see to one of its flags that print something, such as ``--info`` or ``--shell-completion``.

    Raises:
        InputError: If it does not take the words, or one is another flag.
    """
    flags = [word for word in words if word.startswith("-") and word not in MULTIRUN]
    for word in flags:
        if word.partition("=")[0] not in (*PRINTING, *CONFIG_DIR):
            raise InputError(word, f"key=value, --config-dir, -m or one of {', '.join(PRINTING)}", "another option")
    if not {"--shell-completion", "-sc"} & {*flags}:
        ours = (*MULTIRUN, *CONFIG_DIR)  # values of other flags are theirs
        pairs = zip(["", *words], words, strict=False)
        compose_jobs(
            [
                word
                for before, word in pairs
                if word.partition("=")[0] in ours or before in CONFIG_DIR or (word not in flags and "=" in word)
            ]
        )
    own, said = sys.argv, io.StringIO()
    sys.argv = [own[0], *(opened(as_typed(word)) for word in words)]
    try:
        with redirect_stderr(said):
            hydra.main(version_base=None, config_path=str(CONF), config_name="train")(lambda config: None)()
    except (SystemExit, HydraException, OmegaConfBaseException, ValueError) as error:
        if not isinstance(error, SystemExit) or error.code:
            line = str(error) if not isinstance(error, SystemExit) else said.getvalue().rpartition("error: ")[2]
            line = line.partition("\n\nSet the environment")[0]
            raise InputError("command line", "settings, and a flag as hydra takes it", line) from error
    finally:
        sys.argv = own


# ------------------------------------------------------------------------ parts


@contextmanager
def _hydra(folders: Sequence[str | Path]) -> Iterator[Any]:
    """A function from words to a configuration; errors of hydra become one line."""
    with _COMPOSING, _one_line_errors(folders):
        theirs, base = GlobalHydra.instance().hydra, version.getbase()
        GlobalHydra.instance().clear()
        try:
            hydra.initialize_config_dir(str(CONF), version_base=None)
            search = _search(folders)
            yield lambda words: _advised(composed([*map(opened, words)], search, folders))
        finally:
            GlobalHydra.instance().hydra = theirs
            version.VersionBase.instance().version_base = base  # its setter takes no base that was never set


def _advised(config: DictConfig) -> DictConfig:
    """The configuration with what its environment recommends checked.

    An environment of somebody else has what it does not recommend of ``custom_env.yaml``.

    Raises:
        InputError: If it recommends what nothing asks for.
    """
    env = OmegaConf.to_container(config.env) if isinstance(config.get("env"), DictConfig) else None
    if not isinstance(env, dict):
        return config
    own = env.get("recommended") or {}
    check_recommended(own)
    if not str(env.get("_target_", "lomaq.")).startswith("lomaq."):
        common = read_yaml(CONF / "custom_env.yaml")["recommended"]
        with open_dict(config):
            config.env.recommended = {**common, **own}
    return config


def _search(folders: Sequence[str | Path]) -> list[str]:
    if not folders:
        return []
    for folder in folders:
        if not os.path.isdir(folder):
            raise InputError("--config-dir", "an existing folder of settings", folder)
        _check_names(Path(folder))
    quoted = (str(Path(folder).absolute()).replace("\\", "\\\\").replace("'", "\\'") for folder in folders)
    return ["hydra.searchpath=[" + ",".join(f"'file://{folder}'" for folder in quoted) + "]"]


def _check_names(folder: Path) -> None:
    """Refuse files that set parts of this package by names of earlier versions; classes from elsewhere may have any."""
    for file in sorted(folder.glob("*/*.yaml")):
        content = parse_yaml(file, text := read_text(file))
        if isinstance(content, dict) and str(content.get("_target_", "lomaq.")).startswith("lomaq."):
            names = flat(content, "" if "@package _global_" in text else f"{file.parent.name}.")
            for old in RENAMED:
                if any(f"{name}.".startswith(f"{old}.") for name in names):
                    raise _renamed(old, f"{old} in {file}")


def _renamed(old: str, got: str) -> InputError:
    new = RENAMED[old]
    return InputError(old, f"the setting {new}", got, f"write {new if '=' in new else new + '=…'}")


def _resolved(words: Sequence[str], configure: Any, folders: Sequence[str]) -> dict[str, Any]:
    """The configuration of one run, with its ``method``, and with the names of all methods where a grid wants them."""
    config = configure(words)
    chosen = config.hydra.runtime.choices
    with open_dict(config):
        del config["hydra"]
    plain = _plain(config)
    import_targets(plain)
    name_functions(plain["env"])
    check_settings(plain, _classes)
    grids = (plain["study"] or {}).get("grid", [])
    for grid in grids if isinstance(grids, list) else [grids]:
        if isinstance(grid, dict) and grid.get("algo") == "methods":
            grid["algo"] = sorted(methods(folders), key=lambda name: name != "lomaq")  # reports compare with the first
    stamps = [(file, file.stat().st_mtime_ns) for folder in folders for file in Path(folder).glob("*/*.yaml")]
    key = (chosen["algo"], chosen["learner"], *stamps)
    if key not in _ALONE:
        alone = configure([f"{group}={chosen[group]}" for group in ("algo", "learner")])
        for name in set(alone.algo) - set(read_yaml(CONF / "train.yaml")["algo"]):
            raise InputError(f"algo.{name}", "a setting of algo in conf/train.yaml", "an unknown one", "leave it out")
        may_differ = OmegaConf.to_container(alone.algo.identity)
        assert isinstance(may_differ, dict)
        _ALONE[key] = _identity(alone), {str(name): _classes(allowed) for name, allowed in may_differ.items()}
    mine, (method, may_differ) = _identity(config), _ALONE[key]
    differing = [name for name in {*mine, *method} if mine.get(name) != method.get(name)]
    same = all(may_differ.get(name) == "any" or mine.get(name) in may_differ.get(name, ()) for name in differing)
    name = (config.algo.policy == "baseline" and config.algo.baseline) or chosen["algo"]
    return {**plain, "method": name if same else "custom"}


def _identity(config: DictConfig) -> dict[str, Any]:
    """What makes a run its method: who acts, the partition, classes and their identity settings, no warm start."""
    if check_choice("algo.policy", config.algo.policy, POLICIES) != "utilities":
        return {"algo.policy": config.algo.policy}
    check_choice("algo.reads", config.algo.reads, ("local", "team"))
    found: dict[str, Any] = {"algo.policy": "utilities", "partition": config.partition, "init_from": config.init_from}
    for part in PARTS:
        target = found[f"{part}._target_"] = _classes(OmegaConf.select(config, f"{part}._target_"))
        for name in getattr(target, "identity", ()):
            default = inspect.signature(target).parameters[name].default
            found[f"{part}.{name}"] = OmegaConf.select(config, f"{part}.{name}", default=default)
    return found


def _classes(value: Any) -> Any:
    """``value`` with the names of this package's classes replaced by these; nothing else is imported."""
    return [_classes(one) for one in value] if isinstance(value, list) else our_class(value) or value


def _parse_word(word: str) -> Override:
    with _one_line_errors():
        return OverridesParser.create().parse_overrides(overrides=[word])[0]


def _plain(config: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    settings = {str(key): value for key, value in plain.items()}
    check_sections(settings)
    return settings


@contextmanager
def _one_line_errors(folders: Sequence[str | Path] = ()) -> Iterator[None]:
    """What hydra and omegaconf raise becomes an :class:`InputError`."""
    try:
        yield
    except InputError:
        raise
    except yaml.YAMLError as error:
        raise InputError("--config-dir", "files in YAML", yaml_reason(error)) from error
    except (HydraException, OmegaConfBaseException) as error:  # some of these are ValueErrors
        raise _refusal(error, folders) from error
    except (TypeError, ValueError) as error:  # hydra's, for a number where it wants the name of a group
        raise InputError("command line", "a name for each group, such as learner=fast", str(error)) from error


def _refusal(error: Exception, folders: Sequence[str | Path]) -> InputError:
    unknown = re.search(r"Could not (?:override '(.+)'\.|find '(?:hydra/)?(\w+)/([^']+)')", str(error))
    old = "" if unknown is None else unknown[1] or f"{unknown[2]}={unknown[3]}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("full_key:", "object_type=", "To append to your config"))]
    line = "; ".join(kept).split("; Config search path")[0] or type(error).__name__
    if old in RENAMED:
        return _renamed(old, old)
    if unknown is not None and unknown[2] == "launcher":
        remedy = f"{INSTALL.format('ray')} or '.[submitit]'"
        return InputError("hydra/launcher", "a launcher that is installed", unknown[3], remedy)
    if "algo.searched" in line:
        return InputError("learner", "fast or paper where no search chose settings for the method", "searched")
    if unknown is not None:
        return unknown_setting(old, folders) if unknown[1] else unknown_choice(unknown[2], unknown[3], folders)
    if isinstance(error, OverrideParseException):
        return _form(re.sub(r"^\w+Exception: |; \^", "", line.split("; See https")[0]))
    return InputError("settings", "some that go together", line)


def _alone(word: str, folders: Sequence[str | Path]) -> InputError:
    """The refusal of a word that sets nothing."""
    meant = [group for group, names in choices(folders).items() if word in names]
    remedy = f"did you mean {meant[0]}={word}?" if meant else "lomaq train --help"
    return InputError(word, "a setting as key=value", "a word alone", remedy)


def _form(got: str) -> InputError:
    form = "key=value with balanced brackets, values that hold = or , in quotes ('run_dir=\"a=b\"') or with -m"
    return InputError("command line", f"settings as {form}", got)
