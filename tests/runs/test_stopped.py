"""What a training says that an error ends: the step, what is kept, and how to go on."""

import io
import re

import pytest
from rich.console import Console

from lomaq import cli
from lomaq.config import compose
from lomaq.envs import CartPole
from lomaq.errors import EnvError, NonFiniteLossError
from lomaq.plots.run import train
from lomaq.training.module import LomaqModule


class BreaksDown(CartPole):
    """Carts that break down after a while of training; tests have two environments."""

    def _advance(self, actions):
        if self.n_envs == 4 and int(self.time.max()) >= 20:
            return {}["no such part"]
        return super()._advance(actions)


class Diverges(CartPole):
    """Carts that are paid without bounds while they train; tests have two environments."""

    def _advance(self, actions):
        rewards, terminated = super()._advance(actions)
        return (rewards / 0 if self.n_envs == 4 else rewards), terminated


class BreaksInTests(CartPole):
    """Carts that do not survive a test of three episodes."""

    def _advance(self, actions):
        if self.n_envs == 3:
            raise RuntimeError("no more")
        return super()._advance(actions)


def broken(env: type) -> str:
    return f"env._target_={env.__module__}.{env.__name__}"


def test_an_exception_of_the_environment_names_step_place_and_how_to_go_on(run_small, tmp_path) -> None:
    with pytest.raises(EnvError) as refused:
        run_small("run", broken(BreaksDown))
    folder, line = tmp_path / "run", str(refused.value)
    cause = r"KeyError: 'no such part' \(\S*test_stopped\.py:\d+\) in step"
    assert re.match(rf"\S+BreaksDown\._advance: expected no exception, got {cause}", line)
    kept = f"the last checkpoint is kept, {folder}/checkpoints/last.ckpt of 0: go on with resume={folder}"
    assert line.endswith(kept)
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    assert isinstance(refused.value.__cause__, KeyError)


def test_a_reward_that_is_not_finite_is_not_blamed_on_the_learning_rate(command, small) -> None:
    status, _, err = command(cli.train_main, *small, broken(Diverges), "run_dir=run")
    assert status == 2
    error = err.splitlines()[-1]
    assert error.startswith("error: reward of ")
    assert "Diverges: expected finite numbers, got inf (environment 0, agent 0, step 1 of" in error
    assert error.endswith("go on with resume=run")
    assert "learner.lr" not in err


def test_without_a_checkpoint_the_run_is_to_be_started_again(run_small) -> None:
    with pytest.raises(EnvError, match=r"stopped at 0 env steps, before the first checkpoint: start it again$"):
        run_small("run", broken(BreaksInTests), "evaluation.episodes=3")


def test_a_loss_without_bounds_says_what_is_kept(run_small, tmp_path) -> None:
    said = r"^the \w+ became \S+ at \d+ env steps; lower learner\.lr"
    with pytest.raises(NonFiniteLossError, match=said) as refused:
        run_small("run", "learner.lr=1e30", "learner.grad_clip=1e30")
    assert str(refused.value).endswith(f"go on with resume={tmp_path / 'run'}")


def test_an_error_with_a_traceback_comes_with_how_to_go_on(tmp_path, small, monkeypatch) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(LomaqModule, "learn", no_memory)
    console = Console(file=io.StringIO(), width=1000)
    with pytest.raises(MemoryError):
        train(compose(small), tmp_path / "run", console)
    assert f"go on with resume={tmp_path / 'run'}" in console.file.getvalue()
