"""What a stranger's run folder holds is never executed: every reader, with something planted at every place."""

from __future__ import annotations

import copy
import io
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

import lomaq.api
from lomaq.analysis import stored
from lomaq.analysis.certificate.checkpoint import certify_checkpoint
from lomaq.analysis.compare import compare, describe_run
from lomaq.analysis.episode import decompose_checkpoint
from lomaq.analysis.stored import evaluate_checkpoint, open_checkpoint
from lomaq.config import compose
from lomaq.errors import EnvError, InputError
from lomaq.export import export_checkpoint
from lomaq.export import files as export_files
from lomaq.inputs.plain import changed
from lomaq.inputs.targets import import_modules, name_functions
from lomaq.plots import film, graph
from lomaq.plots.run import train
from lomaq.studies import figures
from lomaq.training import run as training_run
from lomaq.training.build import env_maker
from lomaq.training.checkpoint import load_checkpoint

SECRET = "the-secret-of-this-machine"
NOWHERE = Console(file=io.StringIO())


class Canary:
    """A class of a module that is imported, as ``subprocess`` is, which remembers that it was made."""

    made: list[Any] = []  # noqa: RUF012

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.made.append((arguments, settings))


class Reached(Exception):
    """A reader came to where only what was built is used."""


def reached(*arguments: Any, **settings: Any) -> Any:
    raise Reached


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A small run that has learned rewards, whose settings have nodes in nodes."""
    folder = tmp_path_factory.mktemp("trust") / "run"
    small = ("env.n_agents=3", "env.max_steps=5", "learner.n_envs=4", "learner.rollout_steps=5", "total_env_steps=40")
    lomaq.train("cartpole", *small, algo="lomaq_rd", evaluation__episodes=1, run_dir=folder)
    return folder


@pytest.fixture(scope="module")
def state(finished) -> dict[str, Any]:
    return load_checkpoint(finished / "checkpoints" / "last.ckpt")


@pytest.fixture
def planted(tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder to work in with a module ``stranger``; after the test neither it nor anything else was executed."""
    (tmp_path / "stranger.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'imported')!r}).touch()\n"
        "from lomaq.envs import CartPole as Thing\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRUST_SECRET", SECRET)
    Canary.made.clear()
    yield tmp_path
    assert Canary.made == []
    assert not (tmp_path / "imported").exists()
    assert not (tmp_path / "executed").exists()
    assert "stranger" not in sys.modules


def nodes(folder: Path) -> list[dict[str, Any]]:
    """A class that is imported, one that runs a program, one of a module that is not imported."""
    return [
        {"_target_": f"{__name__}.Canary", "value": 1},
        {"_target_": "subprocess.Popen", "args": ["touch", str(folder / "executed")]},
        {"_target_": "stranger.Thing", "n_agents": 3},
        {"_target_": "os.system", "command": f"touch {folder / 'executed'}"},
        {"_target_": "lomaq.config.words.Path"},
    ]


#: Name of a way to plant a node → what stands in the place of a value.
WAYS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "instead": lambda value, node: node,
    "in a list": lambda value, node: [node],
    "in settings": lambda value, node: {"inside": {"deeper": [node]}},
    "as a class": lambda value, node: node["_target_"],
    "with its settings": lambda value, node: {**value, **node} if isinstance(value, dict) else [value, node],
    "next to its settings": lambda value, node: {**value, "more": node} if isinstance(value, dict) else {"x": node},
    "a reference": lambda value, node: "${oc.env:TRUST_SECRET}",
    "a reference in text": lambda value, node: ["a", "${oc.env:TRUST_SECRET}/b"],
}


def places(config: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys to every value in nested dictionaries and lists, inner ones too."""
    for key, value in config.items() if isinstance(config, dict) else enumerate(config):
        yield (*before, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*before, key))


def cases(config: dict[str, Any], folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """A configuration for every place and way; the nodes take turns."""
    turns = itertools.cycle(nodes(folder))
    for keys in places(config):
        for way, plant in WAYS.items():
            one = copy.deepcopy(config)
            inner: Any = one
            for key in keys[:-1]:
                inner = inner[key]
            inner[keys[-1]] = plant(inner[keys[-1]], next(turns))
            yield f"{'.'.join(map(str, keys))}: {way}", one


def of_checkpoint(read: Callable[[Any], object]) -> Callable[[Path], object]:
    return lambda folder: read(open_checkpoint(folder, resume=False))


def resume(folder: Path) -> None:
    found = open_checkpoint(folder, resume=True)
    train(changed(found.config, {"total_env_steps": 80}), folder, NOWHERE, found.path)


#: What reads a checkpoint, and what reads the text files of a run.
READERS: dict[str, Callable[[Path], object]] = {
    "resume": resume,
    "evaluate": of_checkpoint(lambda found: evaluate_checkpoint(found, changed(found.config, {}), 1, 0)),
    "load": of_checkpoint(lomaq.api.Policy),
    "networks": of_checkpoint(lambda found: found.run()),
    "certify": of_checkpoint(lambda found: certify_checkpoint(found, states=2)),
    "decompose": of_checkpoint(lambda found: decompose_checkpoint(found, found.config, 0)),
    "graph": of_checkpoint(lambda found: graph.picture_graph(found.config, None, found, colour="reward")),
    "export": of_checkpoint(lambda found: export_checkpoint(found, found.run_dir / "exported")),
    "film": of_checkpoint(lambda found: film.film_checkpoint(found, found.config, 0, "film.gif")),
}
TEXT_READERS: dict[str, Callable[[Path], object]] = {
    "info": describe_run,
    "compare": lambda folder: compare([str(folder), str(folder.parent / "other")]),
    "figures": lambda folder: figures.draw(folder.parent),
}


def outcome(read: Callable[[Path], object], folder: Path) -> str:
    """What a reader answers, in words: nothing but a refusal is allowed to end it."""
    try:
        return str(read(folder))
    except Reached:
        return ""
    except InputError as error:
        return str(error)


@pytest.fixture
def quick(monkeypatch) -> None:
    """Readers end where they would learn, draw or write with what they have built."""
    monkeypatch.setattr(training_run, "_fit", reached)
    monkeypatch.setattr(export_files, "write_policy", reached)
    monkeypatch.setattr(graph, "draw_graph", reached)
    monkeypatch.setattr(film.Film, "write", reached)
    monkeypatch.setattr(figures, "draw_curves", reached)


def sweep(
    readers: dict[str, Callable[[Path], object]], chosen: Iterator[tuple[str, dict[str, Any]]], give, folder: Path
) -> None:
    wrong = []
    for name, config in chosen:
        give(config)
        for reader, read in readers.items():
            try:
                said = outcome(read, folder)
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
                wrong.append(f"{reader} of {name} ends in {said[:200]}")
            if SECRET in said or Canary.made or (folder.parent.parent / "imported").exists():
                wrong.append(f"{reader} of {name} executes or tells: {said[:200]}")
                Canary.made.clear()
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def give_checkpoint(state, monkeypatch) -> Callable[[dict[str, Any]], None]:
    """Let a configuration be that of the checkpoint."""

    def give(config: dict[str, Any]) -> None:
        other = {**state, "lomaq": {**state["lomaq"], "config": config}}
        monkeypatch.setattr(stored, "load_checkpoint", lambda path: other)

    return give


@pytest.fixture
def place(planted, finished) -> Path:
    """A run folder of a stranger, ``runs/run``, next to one of the user's."""
    for name in ("run", "other"):
        folder = planted / "runs" / name
        (folder / "checkpoints").mkdir(parents=True)
        for file in ("metrics.csv", "config.yaml"):
            (folder / file).write_text((finished / file).read_text())
        for file in ("last.ckpt", "best.ckpt"):
            (folder / "checkpoints" / file).symlink_to(finished / "checkpoints" / file)
    return planted / "runs" / "run"


def test_no_reader_of_a_checkpoint_executes_what_is_planted(place, state, quick, give_checkpoint) -> None:
    every = cases(state["lomaq"]["config"], place.parent.parent)
    sweep(READERS, itertools.islice(every, 0, None, 53), give_checkpoint, place)


@pytest.mark.slow
def test_no_reader_of_a_checkpoint_executes_what_is_planted_anywhere(place, state, quick, give_checkpoint) -> None:
    sweep(READERS, cases(state["lomaq"]["config"], place.parent.parent), give_checkpoint, place)


def give_text(folder: Path) -> Callable[[dict[str, Any]], None]:
    return lambda config: (folder / "config.yaml").write_text(yaml.safe_dump(config)) and None


def test_no_reader_of_text_files_executes_what_is_planted(place, state, quick) -> None:
    every = cases(state["lomaq"]["config"], place.parent.parent)
    sweep(TEXT_READERS, itertools.islice(every, 0, None, 53), give_text(place), place)


@pytest.mark.slow
def test_no_reader_of_text_files_executes_what_is_planted_anywhere(place, state, quick) -> None:
    sweep(TEXT_READERS, cases(state["lomaq"]["config"], place.parent.parent), give_text(place), place)


def factory_config(state: dict[str, Any], **settings: Any) -> dict[str, Any]:
    node = {"_target_": "lomaq.envs.PettingZoo", "name": "pettingzoo", "args": {}, **settings}
    return {**state["lomaq"]["config"], "env": node}


@pytest.mark.parametrize("path", ["stranger:make", "subprocess:Popen", "lomaq.api:make", "lomaq.inputs.targets:os"])
@pytest.mark.parametrize("reader", ["resume", "evaluate", "load", "networks", "graph"])
def test_a_function_that_only_a_checkpoint_names_is_called_in_no_process(
    place, state, quick, give_checkpoint, monkeypatch, path, reader
) -> None:
    monkeypatch.setattr("lomaq.envs.pettingzoo.env._processes", reached)
    for settings in ({"factory": path}, {"factory": "named_before:make", "graph": path}):
        name_functions("named_before:make")
        give_checkpoint(factory_config(state, **settings))
        said = outcome(READERS[reader], place)
        assert f"expected a function that you named, or of a module that you named, got {path}" in said
        assert f"add modules={path.partition(':')[0]}, or give the setting {[*settings][-1]} yourself" in said


def test_a_function_that_the_user_names_is_made(state, monkeypatch) -> None:
    monkeypatch.setattr("lomaq.envs.pettingzoo.env._processes", reached)
    stored = factory_config(state, factory="named_later:make")
    configs = [
        compose(["env=pettingzoo", "env.factory=named_by_settings:make"]),
        changed(stored, {"env.factory": "named_by_a_change:make"}),
    ]
    import_modules("json")
    configs.append(factory_config(state, factory="json:loads"))
    for config in configs:
        with pytest.raises(EnvError, match="Reached"):
            env_maker(config)(1, 0, "cpu")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a function that you named"):
        env_maker(stored)(1, 0, "cpu")  # type: ignore[arg-type]
