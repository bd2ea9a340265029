"""All settings by their names, and what is said of one that is not among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from lomaq.config.groups import CONF, choices, read_yaml
from lomaq.config.words import flat
from lomaq.errors import InputError, did_you_mean
from lomaq.inputs.text import read_text

#: Parts of names that nobody sets on a command line.
_INNER = {"algo", "recommended", "defaults", "hydra", "name"}
#: What other libraries call a setting → what it is called here, where that is not alike.
FOREIGN = {
    **dict.fromkeys(("alg", "algorithm", "method", "algo_name"), "algo"),
    **dict.fromkeys(("agents", "num_agents", "nagents", "n"), "env.n_agents"),
    **dict.fromkeys(("device", "cuda", "gpu"), "trainer.accelerator=gpu"),
    **dict.fromkeys(("steps", "timesteps", "total_timesteps", "total_steps", "t_max", "budget"), "total_env_steps"),
    **dict.fromkeys(("num_envs", "batch_size_run", "copies"), "learner.n_envs"),
    **dict.fromkeys(("learning_rate", "alpha"), "learner.lr"),
    **dict.fromkeys(("environment", "map", "map_name", "scenario", "task"), "env"),
    **dict.fromkeys(("discount", "discount_factor"), "learner.objective.returns.gamma"),
    **dict.fromkeys(("lambda", "td_lambda", "gae_lambda"), "learner.objective.returns.lam"),
    **dict.fromkeys(("dir", "folder", "log_dir", "output", "out", "save_dir"), "run_dir"),
    **dict.fromkeys(("checkpoint", "load", "run"), "resume"),
    **dict.fromkeys(("hops", "k", "n_hops"), "kappa"),
    **dict.fromkeys(("wandb", "tensorboard", "mlflow", "log"), "logger"),
    **dict.fromkeys(("network", "net", "rnn", "model"), "agent"),
    **dict.fromkeys(("eval_interval", "test_interval", "eval_every"), "evaluation.every_env_steps"),
    **dict.fromkeys(("buffer_size", "replay"), "learner.replay_capacity"),
}


def settings(config_dirs: Sequence[str | Path] = ()) -> dict[str, list[str]]:
    """Dotted names of all settings → the choices that have it, such as ``env=nav``; none where each run has it."""
    found = dict(_ours())
    for folder in config_dirs:
        for key, having in _in_groups(Path(folder)).items():
            found[key] = [*found.get(key, []), *having]
    return found


@cache
def _ours() -> dict[str, list[str]]:
    everywhere = [name for name in flat(read_yaml(CONF / "train.yaml")) if not _INNER & {*name.split(".")}]
    return {name: [] for name in everywhere} | {k: v for k, v in _in_groups(CONF).items() if k not in everywhere}


def _in_groups(folder: Path) -> dict[str, list[str]]:
    """The same of the groups in a folder of settings."""
    found: dict[str, list[str]] = {}
    for group in sorted(choices().keys() - {"experiment"}):  # experiments set what is elsewhere
        for file in sorted((folder / group).glob("*.yaml")):
            package = read_text(file).partition("\n")[0].partition("@package ")[2] or group
            for key in flat(read_yaml(file), "" if package == "_global_" else f"{package}."):
                found.setdefault(key, []).append(f"{group}={file.stem}")
    return {key: found[key] for key in found if not _INNER & {*key.split(".")} and "._" not in key}


@cache
def _recommendable() -> list[str]:
    """What environments recommend."""
    files = [CONF / "custom_env.yaml", *(CONF / "env").glob("*.yaml")]
    return sorted({name for file in files for name in read_yaml(file)["recommended"]})


def check_recommended(recommended: object) -> None:
    """Refuse what is recommended by a name that no setting refers to.

    Raises:
        InputError: If there is one.
    """
    known = _recommendable()
    if not isinstance(recommended, Mapping):
        raise InputError("recommended", "a group of settings", repr(recommended), f"such as {', '.join(known)}")
    for name in recommended:
        if name not in known:
            raise InputError(
                f"recommended.{name}", f"one of {', '.join(known)}", "an unknown setting", did_you_mean(name, known)
            )


def unknown_setting(key: str, config_dirs: Sequence[str | Path] = ()) -> InputError:
    """The refusal of a setting that a run has not."""
    known, groups = settings(config_dirs), choices(config_dirs)
    if known.get(key):
        group = known[key][0].partition("=")[0]
        having = [word.partition("=")[2] for word in known[key] if word.startswith(f"{group}=")]
        got = f"one that only {group}={' or '.join(having)} {'has' if len(having) == 1 else 'have'}"
        return InputError(key, "a known setting", got, "lomaq train --cfg job lists those of a run")
    meant = f"did you mean {FOREIGN[key.lower()]}?" if key.lower() in FOREIGN else did_you_mean(key, [*groups, *known])
    return InputError(key, "a known setting", "an unknown one", f"{meant} lomaq train --cfg job lists all".strip())


def unknown_choice(group: str, name: str, config_dirs: Sequence[str | Path] = ()) -> InputError:
    """The refusal of what a group has not."""
    groups = choices(config_dirs)
    known, elsewhere = groups.get(group, []), [other for other, names in groups.items() if name in names]
    meant = f"did you mean {elsewhere[0]}={name}?" if elsewhere else did_you_mean(name, known, f"{group}=")
    return InputError(group, f"one of {', '.join(known)}", name, meant)
