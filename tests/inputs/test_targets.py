"""Which classes a configuration may name, and by whose word a module is imported."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, Optional, Union

import pytest

from lomaq.config import compose, compose_jobs
from lomaq.envs import BatchedEnv, CartPole
from lomaq.errors import InputError
from lomaq.inputs.targets import find_class, import_modules, modules_of, our_class, parameter_kinds
from lomaq.mixers import Mixer
from lomaq.objectives import PartitionTD, Returns
from lomaq.training import Epsilon


class Tame(CartPole):
    """A class of a module that is imported, as a user's is."""


imported_here = CartPole


def test_classes_of_this_package_are_found_by_every_path_that_leads_to_them() -> None:
    for path in ("lomaq.envs.CartPole", "lomaq.envs.cartpole.CartPole"):
        assert find_class(path, [BatchedEnv]) is CartPole
    assert find_class("lomaq.envs.CartPole", [Mixer, CartPole]) is CartPole


def test_a_class_of_an_imported_module_is_found_where_it_is_defined_and_where_it_is_imported() -> None:
    assert find_class(f"{__name__}.Tame", [BatchedEnv]) is Tame
    assert find_class(f"{__name__}.imported_here", [BatchedEnv]) is imported_here


@pytest.mark.parametrize(
    "path",
    [
        "subprocess.Popen",
        "os.system",
        "builtins.exec",
        "lomaq.config.words.Path",
        "lomaq.envs.base.torch.Tensor",
        "lomaq.envs",
        "lomaq.envs.nothing",
        "lomaq.nowhere.CartPole",
        "lomaq..os.system",
        "lomaq.mixers.SumMixer",
        f"{__name__}.nothing",
        "CartPole",
        ".CartPole",
        "",
        "a b.\x1b[31m",
        None,
        3,
        ["lomaq.envs.CartPole"],
    ],
)
def test_all_else_is_refused_in_a_line(path) -> None:
    with pytest.raises(InputError) as error:
        find_class(path, [BatchedEnv])
    assert "a BatchedEnv" in str(error.value)
    assert "\x1b" not in str(error.value)


def test_a_module_that_is_not_imported_is_refused_with_the_way_to_allow_it_and_stays_so(tmp_path, monkeypatch) -> None:
    (tmp_path / "not_imported.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"if you trust that module, add modules=not_imported, or in Python import"):
        find_class("not_imported.Env", [BatchedEnv])
    assert "not_imported" not in sys.modules


@pytest.mark.parametrize("kind", [AbstractContextManager, Hashable, Callable])
def test_a_class_that_only_looks_like_the_kind_is_none(kind) -> None:
    with pytest.raises(InputError):
        find_class("subprocess.Popen", [kind])  # which has all that these ask for


def test_only_classes_of_this_package_are_ours() -> None:
    assert our_class("lomaq.envs.CartPole") is CartPole
    for path in (
        "lomaq.config.words.Path",
        "lomaq.inputs.targets.sys",
        "lomaq.nowhere.X",
        "subprocess.Popen",
        "lomaq",
        None,
        3,
    ):
        assert our_class(path) is None


class Takes:
    def __init__(
        self,
        one: Returns,
        perhaps: Returns | None,
        old: Optional[Returns],  # noqa: UP045
        either: Union[Returns, Epsilon],  # noqa: UP007
        noted: Annotated[Returns, "of the objective"],
        number: int,
        anything: Any,
        whatever: object,
        several: list[Returns],
        unknown,
    ) -> None: ...


class TakesMore(Takes):
    def __init__(self, one, more: Epsilon) -> None: ...


class Unreadable:
    def __init__(self, one: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def test_a_node_may_be_what_its_parameter_is_annotated_with() -> None:
    for name in ("one", "perhaps", "old", "noted"):
        assert parameter_kinds(Takes, name) == [Returns]
    assert parameter_kinds(Takes, "either") == [Returns, Epsilon]
    for name in ("number", "anything", "whatever", "several", "unknown", "missing"):
        assert parameter_kinds(Takes, name) == []
    assert parameter_kinds(PartitionTD, "returns") == [Returns]


def test_without_an_annotation_that_of_the_class_derived_from_counts() -> None:
    assert parameter_kinds(TakesMore, "one") == [Returns]
    assert parameter_kinds(TakesMore, "more") == [Epsilon]


def test_an_annotation_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(InputError, match=r"constructor of Unreadable: .*Nowhere"):
        parameter_kinds(Unreadable, "one")


# ---------------------------------------------------------------------- imports

ENV = "from lomaq.envs import CartPole\n\n\nclass Mine(CartPole):\n    pass\n"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder on the path; ``own(name, code)`` writes a module there, which is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    names = []

    def write(name: str, code: str) -> Path:
        names.append(name)
        (tmp_path / f"{name}.py").write_text(code)
        return tmp_path

    yield write
    for name in names:
        sys.modules.pop(name, None)


def test_modules_are_named_one_or_several(own) -> None:
    own("first_mod", "")
    own("second_mod", "")
    own("third_mod", "")
    import_modules("first_mod,second_mod")
    import_modules(["third_mod"])
    assert {"first_mod", "second_mod", "third_mod"} <= {*sys.modules}
    words = ["env=nav", "modules=a, b.c", "modules=[d]", "seed=1"]
    assert modules_of(words) == (["env=nav", "seed=1"], ["a", "b.c", "d"])


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("x = 1\ny = 1 / 0\n", r"broken_mod \(ZeroDivisionError: division by zero, broken_mod\.py, line 2\)"),
        ("import nowhere_mod\n", r"ModuleNotFoundError: No module named 'nowhere_mod', broken_mod\.py, line 1"),
        ("x = 1\n  y = 2\n", r"IndentationError: unexpected indent \(broken_mod\.py, line 2\)"),
        ("raise SystemExit(3)\n", r"SystemExit: 3, broken_mod\.py, line 1"),
    ],
)
def test_what_goes_wrong_in_a_module_is_one_line_with_its_place(own, code, line) -> None:
    own("broken_mod", code)
    with pytest.raises(InputError, match=line):
        import_modules("broken_mod")


@pytest.mark.parametrize("name", ["nowhere_mod", "nowhere_mod.inner", "", "a b", "../x", ".x", "os;x", 3])
def test_a_module_that_is_not_there_is_refused_in_a_line(name) -> None:
    with pytest.raises(InputError, match="modules: expected the name of a module that can be imported"):
        import_modules([name])


def test_the_users_own_words_have_the_module_of_a_class_imported(own) -> None:
    own("word_env", ENV)
    config = compose(["env._target_=word_env.Mine"])
    assert "word_env" in sys.modules
    assert config["env"]["_target_"] == "word_env.Mine"
    with pytest.raises(InputError, match=r"_target_: .*nowhere_mod .*PYTHONPATH"):
        compose(["env._target_=nowhere_mod.Mine"])


def test_modules_named_for_a_training_are_imported_and_remembered_nowhere(own) -> None:
    own("more_mod", "")
    (job,) = compose_jobs(["modules=more_mod", "env.n_agents=3"])
    assert "more_mod" in sys.modules
    assert "more_mod" not in str(job)
