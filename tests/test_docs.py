"""What the pages show works as it stands there: commands, programs, paths, and the site made of them."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from lomaq import cli
from lomaq.config import CONF, compose_jobs
from lomaq.studies import runner
from lomaq.training.build import build_run

ROOT = Path(__file__).resolve().parents[1]
#: Every page, by its path.
PAGES = {
    str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")))
}
#: Pages whose files, commands and programs follow one another: they run in this order, in a folder of their own.
WALKED = ["docs/quick-start.md", "docs/python.md"]
WALKED += [
    f"docs/how-to/{name}.md"
    for name in (
        "own-environment",
        "own-feeder",
        "own-graph",
        "own-mixer",
        "own-objective",
        "pettingzoo",
        "resume",
        "sweeps",
    )
]
#: Of these, those that need a package, and those that take long: their commands have tests of their own elsewhere.
NEEDED = {"docs/how-to/pettingzoo.md": "mpe2"}
LONG = {f"docs/how-to/{name}.md" for name in ("own-feeder", "pettingzoo", "resume", "sweeps")}

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?: {4}(?:PYTHONPATH=\. )?)((?:python (?:train|evaluate)\.py|lomaq|make) .*)$", re.MULTILINE)
INLINE = re.compile(r"`((?:python (?:train|evaluate)\.py|lomaq [a-z]+|make) [^`\n]*)`")
FILE = re.compile(r"`([\w/]+\.(?:py|yaml|json|csv))`")

#: What makes a command short. Later words win over earlier ones.
SHORT_RUN = ("learner.n_envs=4", "learner.rollout_steps=10", "learner.minibatches=2", "evaluation.episodes=2")
SHORT_RUN += ("evaluation.every_env_steps=10000", "total_env_steps=200")
#: Studies, several processes, sweeps and own environments are run by tests of their own; here they are built.
RUN_ELSEWHERE = ("experiment=", "trainer.devices=", "-m", "--config-dir")
SHORT = {"certify": ["states=8"], "bandit": ["n=2", "T=100", "repetitions=2"], "evaluate": ["episodes=2"]}
#: Where commands on other pages than these write, and how far a finished run goes on.
AWAY = {"bandit": ["run_dir=bandit"], "train": ["total_env_steps=400"]}
AWAY |= {command: ["output=here"] for command in ("certify", "decompose", "export")}


class Part(NamedTuple):
    """A piece of a page: a ``command``, a ``file`` with its name, or a ``program``."""

    kind: str
    content: str
    name: str = ""


def parts(text: str) -> Iterator[Part]:
    """What a page asks its reader to type, in order."""
    end = 0
    for fence in FENCE.finditer(text):
        yield from (Part("command", line) for line in COMMAND.findall(text[end : fence.start()]))
        before = text[: fence.start()].rstrip().rsplit("\n\n", 1)[-1]
        name = FILE.search(before) if before.endswith(":") else None
        if name is not None:
            yield Part("file", fence[2], name[1])
        elif fence[1] == "python":
            yield Part("program", fence[2])
        elif fence[1] in ("sh", "bash"):
            yield from (Part("command", line) for line in COMMAND.findall(re.sub("^", "    ", fence[2], flags=re.M)))
        end = fence.end()
    yield from (Part("command", line) for line in COMMAND.findall(text[end:]))


def words_of(line: str) -> list[str]:
    """The words of a command, without the notation of usage lines and with ``runs/run`` for a run to be named."""
    line = re.sub(r"runs/<(?!other)[^>]*>", "runs/run", line.partition("&&")[0]).replace("runs/<other>", "runs/other")
    line = re.sub(r" \[[\w.]+=[^\]]*\]", "", line)  # [seed=0] may be left out
    words = [word for word in shlex.split(line.removeprefix("python "), comments=True) if word != "…"]
    return [f"{words[1]}.py", *words[2:]] if words[0] == "lomaq" and words[1] in ("train", "evaluate") else words


def commands(*, walked: bool) -> dict[tuple[str, ...], str]:
    """The words of all commands, in blocks and in running text, with the first page that has them."""
    found: dict[tuple[str, ...], str] = {}
    for page, text in PAGES.items():
        if (page in WALKED) == walked:
            lines = [part.content for part in parts(text) if part.kind == "command"] + INLINE.findall(text)
            for line in lines:
                found.setdefault(tuple(words_of(line)), page)
    return found


def with_one_run() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Commands that play, examine or draw, each once whatever the name of the run that they read."""
    seen = set()
    for words, page in OTHERS:
        if words[0] != "train.py" or any(word.startswith("resume=") for word in words):
            same = tuple(
                re.sub(r"^(checkpoint=|run=|)runs/(?!other)[^/]+(/[^/]+$)?", r"\1runs/run", word) for word in words
            )
            if same not in seen and same[0] != "make" and "--help" not in same:
                yield page, same
            seen.add(same)


OTHERS = sorted((words, page) for words, page in commands(walked=False).items() if len(words) > 1)
TRAIN = sorted((page, words[1:]) for words, page in OTHERS if words[0] == "train.py" and "--help" not in words)
COMPOSED = [(page, words) for page, words in TRAIN if not any(word.startswith("resume=") for word in words)]
#: The first of all commands with the same settings, whatever their values: these are also built.
KINDS = {frozenset(word.partition("=")[0] for word in words): words for _, words in reversed(COMPOSED)}
PLAYED = sorted(with_one_run())
MADE = sorted({words[1] for kind in (True, False) for words in commands(walked=kind) if words[0] == "make"})


def ids(cases: list[tuple[str, tuple[str, ...]]]) -> list[str]:
    return [f"{page}: {' '.join(words)}" for page, words in cases]


@pytest.fixture
def workplace(monkeypatch, tmp_path):
    """An empty folder to work in, from which modules are imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for file in tmp_path.glob("*.py"):
        sys.modules.pop(file.stem, None)


@pytest.fixture
def one_process(monkeypatch) -> None:
    """Sweeps train in threads: new processes would import everything anew, which tests/studies does."""
    monkeypatch.setattr(runner, "_process", lambda: ThreadPoolExecutor(1))


def write(folder: Path, part: Part) -> None:
    (folder / part.name).parent.mkdir(parents=True, exist_ok=True)
    (folder / part.name).write_text(part.content)


def command_of(words: Sequence[str]) -> str:
    return words[1] if words[0] == "lomaq" else words[0].removesuffix(".py")


def execute(words: list[str]) -> int:
    """The status of a command, run in this process."""
    main = {"train.py": cli.train_main, "evaluate.py": cli.evaluate_main}.get(words[0], cli.main)
    own = sys.argv
    sys.argv = [*words]
    try:
        with pytest.raises(SystemExit) as stop:
            main()
    finally:
        sys.argv = own
    return int(stop.value.code or 0)


# ---------------------------------------------------------------------- commands


#: The first command with each word (whatever its numbers) is among the quick ones.
FIRST = {re.sub(r"\d+", "0", word): words for _, words in reversed(COMPOSED) for word in words}
QUICK = {*FIRST.values(), *KINDS.values()}


@pytest.mark.parametrize(
    ("page", "words"),
    [pytest.param(*case, marks=() if case[1] in QUICK else pytest.mark.slow) for case in COMPOSED],
    ids=ids(COMPOSED),
)
def test_settings_of_a_training_command_compose_and_one_of_each_kind_is_built(workplace, needs, page, words) -> None:
    for part in parts(PAGES[page]):
        if part.kind == "file":
            write(workplace, part)
    if "--cfg" in words:
        assert execute(["train.py", *words]) == 0
        return
    for launcher in (word.partition("=")[2] for word in words if word.startswith("hydra/launcher=")):
        pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    config = compose_jobs(list(words))[0].config
    if words in KINDS.values() and config["study"] is None and config["algo"]["policy"] == "utilities":
        needs(config["env"]["name"])
        build_run(config)


TRAINED = sorted(
    (page, words)
    for page, words in COMPOSED
    if words in KINDS.values() and not any(word.startswith((*RUN_ELSEWHERE, "--cfg")) for word in words)
)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "words"), TRAINED, ids=ids(TRAINED))
def test_one_training_command_of_each_kind_trains(workplace, needs, page, words) -> None:
    needs(compose_jobs(list(words))[0].config["env"]["name"])
    for part in parts(PAGES[page]):
        if part.kind == "file":
            write(workplace, part)
    assert execute(["train.py", *words, *SHORT_RUN, "run_dir=short"]) == 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A finished small run that has learned rewards, too."""
    folder = tmp_path_factory.mktemp("docs") / "run"
    words = ["train.py", "env=cartpole", "env.n_agents=3", "algo=lomaq_rd", "evaluation.at_start=false", *SHORT_RUN]
    assert execute([*words, f"run_dir={folder}"]) == 0
    return folder


@pytest.mark.parametrize(("page", "words"), PLAYED, ids=ids(PLAYED))
def test_a_command_that_needs_a_run_works_on_one(workplace, finished, page, words) -> None:
    if command_of(words) == "check-env":  # of a class on the page
        for part in parts(PAGES[page]):
            if part.kind == "file":
                write(workplace, part)
    elif command_of(words) == "train":  # a copy, since it changes the run
        shutil.copytree(finished, workplace / "runs" / "run")
    else:
        (workplace / "runs").mkdir()
        (workplace / "runs" / "run").symlink_to(finished)
        if {"run=runs/other", "runs/other"} & {*words}:
            shutil.copytree(finished, workplace / "runs" / "other")
    given = [*words, "env.n_agents=12"] if "env.n_agents=200" in words else [*words]
    assert execute([*given, *SHORT.get(command_of(words), []), *AWAY.get(command_of(words), [])]) == 0


def shortened(words: list[str], number: int) -> list[str]:
    """A command of a walked page, the ``number``-th of its parts, made short; who resumes later goes further."""
    command, settings = command_of(words), {word.partition("=")[0] for word in words}
    if command != "train":
        return [*words, *SHORT.get(command, [])]
    if "resume" in settings:
        return [*words, f"total_env_steps={200 + 100 * number}"]
    more = ["study.jobs=1", "study.grid.seed=[0]"] if "experiment" in settings else []
    more += ["jobs=1", "seed=0"] if "-m" in settings else []
    more += [f"run_dir=runs/walk-{number}"] if not settings & {"run_dir", "experiment"} else []
    return [*words, *SHORT_RUN, *more]


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=pytest.mark.slow if page in LONG else ()) for page in WALKED]
)
def test_a_page_can_be_followed_from_top_to_bottom(workplace, one_process, capsys, page) -> None:
    if page in NEEDED:
        pytest.importorskip(NEEDED[page])
    space: dict[str, object] = {"__name__": page}
    for number, part in enumerate(parts(PAGES[page])):
        if part.kind == "file":
            write(workplace, part)
        elif part.kind == "program":
            short = re.sub(r"total_env_steps=[\d_]+", "total_env_steps=400", part.content)
            exec(compile(re.sub(r"episodes=\d+", "episodes=2", short), page, "exec"), space)
        elif not part.content.startswith("make "):
            words = shortened(words_of(part.content), number)
            assert execute(words) == 0, (part.content, capsys.readouterr().err)


def test_programs_stand_on_these_pages_and_where_tests_of_their_own_run_them() -> None:
    with_programs = {page for page, text in PAGES.items() if "program" in {part.kind for part in parts(text)}}
    assert with_programs - set(WALKED) == {"docs/export.md"}  # test_export.py
    with_files = {page for page, text in PAGES.items() if "file" in {part.kind for part in parts(text)}}
    assert with_files - set(WALKED) <= {"README.md", "docs/algorithms/README.md"}  # test_readme.py, and composed above


def test_what_pages_make_can_be_made() -> None:
    made = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(MADE) <= set(made)
    assert {"docs", "train", "test"} <= set(MADE)


def test_a_mixer_of_thirty_lines_is_enough() -> None:
    (code,) = [part.content for part in parts(PAGES["docs/how-to/own-mixer.md"]) if part.name == "hops.py"]
    assert len(code.splitlines()) <= 30


# ------------------------------------------------------------------ paths and site


@pytest.mark.parametrize("page", PAGES)
def test_paths_that_a_page_names_exist(page) -> None:
    for path in re.findall(r"`((?:conf|src|tests|docs|benchmarks|notebooks|examples|results)/[\w/.*-]*)`", PAGES[page]):
        assert list(ROOT.glob(path.replace("NAME", "*").rstrip("/"))), path


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/")])
def test_a_page_opens_with_what_it_is_for_and_for_whom(page) -> None:
    title, blank, what, whom, after, *_ = PAGES[page].split("\n")
    assert title.startswith("# ")
    assert what.startswith("> ")
    assert whom.startswith("> For ")
    assert (blank, after) == ("", "")


@pytest.mark.parametrize("file", sorted(CONF.glob("env/*.yaml")), ids=lambda file: file.stem)
def test_the_page_of_the_environments_has_every_argument_with_its_default(file) -> None:
    settings = yaml.safe_load(file.read_text())
    expected = {name: settings[name] for name in settings.keys() - {"_target_", "name", "recommended"}}
    page, name = PAGES["docs/environments.md"], settings["name"]
    section = next(part for part in re.split(r"^## ", page, flags=re.MULTILINE) if f"`env={name}`" in part)
    table = next(iter(re.findall(rf"^\| argument(?: of `{name}`)? \|.*?\n\n", section, re.MULTILINE | re.DOTALL)), "")
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.MULTILINE)
    assert {name: yaml.safe_load(default) for name, default in rows} == expected


@pytest.fixture(scope="module")
def tree(build, tmp_path_factory) -> Path:
    """The pages of the site as build.py writes them."""
    folder = tmp_path_factory.mktemp("site") / "build" / "docs"
    build.write(folder)
    return folder


@pytest.mark.slow
def test_the_written_pages_are_complete(build, tree) -> None:
    pages = {path: path.read_text() for path in (tree / "pages").rglob("*.md")}
    assert {(tree / "pages" / build.place_of(page)).read_text().partition("\n")[0] for page in PAGES} == {
        text.partition("\n")[0] for text in PAGES.values()
    }
    assert not any(mark in text for mark in build.MARKS for text in pages.values())
    for path, text in pages.items():
        for link, _ in build.LINK.findall(text):
            assert (path.parent / link).exists(), (path, link)


def test_every_public_name_has_a_page_and_a_docstring(build) -> None:
    for part in build.PARTS:
        module = importlib.import_module(build.module_of(part))
        page = build.reference(part)
        for name in sorted({*module.__all__} - {"__version__"}):
            own = build.module_of(build.described()[name])
            assert f"#{own}.{name})" in page
            assert f"\n::: {own}.{name}\n" in build.reference(build.described()[name])
            thing = getattr(module, name)
            assert getattr(importlib.import_module(own), name) is thing
            assert thing.__doc__ or not (inspect.isclass(thing) or inspect.isroutine(thing)), name  # types have none


def test_whatever_takes_or_gives_tensors_in_public_says_their_shapes(build) -> None:
    for name, part in build.described().items():
        thing = getattr(importlib.import_module(build.module_of(part)), name)
        own = vars(thing).values() if inspect.isclass(thing) else [thing]
        for routine in (getattr(x, "fget", None) or getattr(x, "__func__", x) for x in own):
            if not inspect.isfunction(routine) or routine.__name__.startswith("_") or not routine.__doc__:
                continue  # what overrides another method without a docstring is as that one
            if "Tensor" in str(routine.__annotations__):
                assert re.search(r"\[.*\]|0-dim|:(class|meth):", routine.__doc__), routine.__qualname__


@pytest.mark.slow
def test_the_site_builds_without_a_broken_link_and_with_every_page_and_picture(build, tree, tmp_path) -> None:
    pytest.importorskip("mkdocstrings")
    for path in ("src", "docs"):  # where mkdocs.yml looks for them
        (tree.parents[1] / path).symlink_to(ROOT / path)
    program = Path(sys.executable).with_name("mkdocs")
    command = [program, "build", "--strict", "--config-file", tree / "mkdocs.yml", "--site-dir", tmp_path]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    for page, text in PAGES.items():
        place = build.place_of(page).replace("README.md", "index.md")
        shown = (tmp_path / place).with_suffix(".html").read_text()
        for picture in re.findall(r"!\[.*?\]\(.*?([\w-]+\.png)\)", text):
            (source,) = re.findall(rf'<img[^>]*src="([^"]*{picture})"', shown)
            assert ((tmp_path / place).parent / source).is_file(), (page, picture)
    assert 'src="http' not in (tmp_path / "index.html").read_text()  # nothing is fetched from elsewhere


@pytest.mark.parametrize(
    "picture",
    sorted(path for kind in ("concept", "env") for path in (ROOT / "docs" / "images").glob(f"{kind}-*.png")),
    ids=lambda path: path.stem,
)
def test_a_picture_of_concepts_and_environments_is_small_and_drawn_by_the_script(picture) -> None:
    assert picture.stat().st_size <= 150_000
    assert f'"{picture.stem.partition("-")[2]}"' in (ROOT / "docs" / "pictures.py").read_text()
