"""Films: which frames they hold, files that can be read back, windows, and training that they do not disturb."""

from __future__ import annotations

import csv
import gc
import io
import sys
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from lomaq.config import compose
from lomaq.envs import BatchedEnv, CartPole, MatrixGame, Navigation, SysAdmin, Voltage
from lomaq.errors import InputError
from lomaq.evaluation import BaselineActor, RandomActor, evaluate
from lomaq.graphs import AgentGraph
from lomaq.plots import film as film_module
from lomaq.plots.film import Film, check_format, check_render, encode, play
from lomaq.training.checkpoint import load_checkpoint


class Clock(BatchedEnv):
    """Step t pays the only agent t + 1; it ends after ``length`` steps."""

    def __init__(self, length, max_steps, discount=1.0):
        graph = AgentGraph.line(1)
        super().__init__(graph, n_envs=1, n_actions=2, obs_size=1, max_steps=max_steps, seed=0, device="cpu")
        self.length, self.discount = length, discount

    def _reset_state(self, rows):
        pass

    def _advance(self, actions):
        return (self.time[:, None] + 1).float(), self.time + 1 >= self.length

    def observe(self):
        return torch.ones(1, 1, 1)


def bars(n_frames, height=32, width=48):
    """Frames in which a black bar moves over white."""
    frames = np.full((n_frames, height, width, 3), 255, dtype=np.uint8)
    for i, frame in enumerate(frames):
        frame[:, i : i + 4] = 0
    return frames


class Bars(Film):
    """A film of twelve such frames."""

    fps = 20

    def images(self):
        yield from bars(12)


# --------------------------------------------------------------------- episodes


def test_frames_are_the_start_each_step_and_the_end():
    frames = play(RandomActor(0), Clock(length=3, max_steps=10), seed=0)
    assert [m.step for m in frames] == [0, 1, 2, 3]
    assert [m.total for m in frames] == [0, 1, 3, 6]
    assert frames[0].actions is frames[0].rewards is None
    assert [m.rewards.tolist() for m in frames[1:]] == [[1], [2], [3]]
    assert all(m.actions.shape == (1,) for m in frames[1:])


def test_the_total_is_discounted_as_the_test_return_is():
    frames = play(RandomActor(0), Clock(length=3, max_steps=10, discount=0.5), seed=0)
    assert [m.total for m in frames] == [0, 1, 1 + 1, 1 + 1 + 0.75]


@pytest.mark.parametrize(
    ("max_steps", "length", "steps"),
    [(20, 99, [0, 5, 10, 15, 20]), (17, 99, [0, 5, 10, 15, 17]), (20, 12, [0, 5, 10, 12]), (4, 99, [0, 1, 2, 3, 4])],
)
def test_steps_of_long_episodes_are_skipped_but_never_the_end(max_steps, length, steps):
    frames = play(RandomActor(0), Clock(length, max_steps), seed=0, most_frames=4)
    assert [m.step for m in frames] == steps
    assert frames[-1].total == sum(range(1, steps[-1] + 1))


@pytest.mark.parametrize(
    "env",
    [CartPole(3), Navigation(3), SysAdmin(9), Voltage(feeder="generated", n_buses=9)],
    ids=["cartpole", "nav", "sysadmin", "voltage"],
)
def test_the_episode_is_the_first_that_evaluation_plays_with_the_seed(env):
    total = play(RandomActor(5), env, seed=7)[-1].total
    assert total == pytest.approx(float(evaluate(RandomActor(5), env, 1, 7).returns), rel=1e-6)


def test_equal_seeds_make_equal_films_and_others_do_not():
    env = CartPole(2)
    first, again, other = (play(RandomActor(0), env, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0].state["offset"], again[0].state["offset"])
    assert (first[0].state["offset"] != other[0].state["offset"]).any()
    np.testing.assert_array_equal(first[-1].state["angle"], again[-1].state["angle"])


def test_a_film_shows_each_frame_and_lasts_five_to_ten_seconds():
    env = Navigation(2, max_steps=6)
    film = Film(env, play(RandomActor(0), env, 0))
    images = list(film.images())
    assert len(images) == 7
    assert (images[0] != images[-1]).any()
    assert len({frame.shape for frame in images}) == 1
    for n_frames, fps in ((2, 1), (7, 2), (51, 11), (100, 20), (201, 20)):
        assert Film(env, film.frames[:1] * n_frames).fps == fps


# ------------------------------------------------------------------------ files


def test_a_gif_can_be_read_back(tmp_path):
    frames = bars(12)
    Bars(None, []).write(tmp_path / "new" / "bars.gif")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["bars.gif"]
    np.testing.assert_array_equal(imageio.imread(tmp_path / "new" / "bars.gif"), frames)
    with Image.open(tmp_path / "new" / "bars.gif") as image:
        assert image.n_frames == 12
        assert image.info["duration"] == 50  # milliseconds
        assert image.info["loop"] == 0  # for ever


def test_a_gif_keeps_the_most_frequent_colours_and_shows_others_as_the_nearest_of_them(tmp_path):
    reds, greens = np.meshgrid(np.arange(16), np.arange(16), indexing="ij")
    colours = 17 * np.stack([reds, greens, 0 * reds], -1).reshape(-1, 3)  # 256
    often = colours[:128]
    picture = np.concatenate([often, often, colours]).astype(np.uint8).reshape(32, 16, 3)
    with (tmp_path / "many.gif").open("wb") as file:
        encode(file, [picture], "gif", 1)
    shown = imageio.imread(tmp_path / "many.gif", index=0)[..., :3].astype(int)
    assert (abs(shown - picture)[:24] == 0).all()  # those of the palette
    nearest = np.array([min(abs(often - colour).sum(-1)) for colour in colours[128:]])
    assert (abs(shown - picture)[24:].reshape(-1, 3).sum(-1) == nearest).all()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # of imageio-ffmpeg's reader
def test_an_mp4_can_be_read_back(tmp_path):
    path = tmp_path / "bars.mp4"
    Bars(None, []).write(path)
    assert imageio_ffmpeg.count_frames_and_secs(str(path)) == (12, pytest.approx(0.6))
    reader = imageio_ffmpeg.read_frames(str(path))
    assert next(reader)["size"] == (48, 32)
    first = np.frombuffer(next(reader), dtype=np.uint8).reshape(32, 48, 3)
    reader.close()
    del reader
    gc.collect()  # here, and not in some later test
    assert abs(first.astype(int) - bars(1)[0]).mean() < 8  # compression loses a little


def test_a_film_of_trained_size_stays_small(tmp_path):
    env = CartPole(15, max_steps=20)
    Film(env, play(RandomActor(0), env, 0)).write(tmp_path / "carts.gif")
    assert (tmp_path / "carts.gif").stat().st_size < 20 * 40_000


def test_a_film_that_breaks_off_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "old.gif"
    path.write_bytes(b"old")

    class Broken(Bars):
        def images(self):
            yield bars(1)[0]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Broken(None, []).write(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_other_endings_are_refused(tmp_path):
    (tmp_path / "folder.gif").mkdir()
    for path in ("film.avi", "film", "film.GIFF", 3, str(tmp_path / "folder.gif")):
        with pytest.raises(InputError, match=r"render: expected a file that ends in \.gif .*render=episode\.gif"):
            check_render(path)


@pytest.mark.parametrize(("ending", "package"), [("mp4", "imageio"), ("mp4", "imageio_ffmpeg")])
def test_a_missing_package_is_named_with_its_remedy(monkeypatch, ending, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package}.*pip install '\.\[film\]'"):
        check_format("evaluation.film", ending)


def test_a_gif_needs_neither(monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio", None)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert check_format("evaluation.film", "gif") == "gif"


# ---------------------------------------------------------------------- windows


def test_without_a_screen_a_window_is_refused():
    with pytest.raises(InputError, match=r"render: expected a screen .*render=episode\.gif"):
        check_render("human")


def test_a_toolkit_that_finds_no_screen_is_no_traceback(monkeypatch):
    def figure(_name):
        raise RuntimeError("no display name and no $DISPLAY environment variable")

    monkeypatch.setattr("matplotlib.pyplot.figure", figure)
    with pytest.raises(InputError, match=r"none \(no display name"):
        check_render("human")


@pytest.fixture
def screen(monkeypatch):
    """A pretended screen: titles of what each pause showed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    seen = []

    def pause(seconds):
        from matplotlib import pyplot

        figure = pyplot.gcf()
        figure.canvas.draw()
        seen.append((round(seconds, 3), figure.texts[0].get_text()))

    monkeypatch.setattr(FigureCanvasAgg, "required_interactive_framework", "pretended", raising=False)
    monkeypatch.setattr("matplotlib.pyplot.pause", pause)
    return seen


def test_a_window_shows_every_frame_and_closes(screen):
    from matplotlib import pyplot

    assert check_render("human") == "human"
    assert pyplot.get_fignums() == []
    env = MatrixGame([[[0, 1], [1, 2]], [[2, 1], [1, 1]]])
    Film(env, play(RandomActor(0), env, 0)).show()
    assert [title.split("     ")[0] for _, title in screen] == ["step 0 of 1", "step 1 of 1", "step 1 of 1"]
    assert [seconds for seconds, _ in screen] == [1.0, 1.0, film_module.LAST_LOOK]
    assert pyplot.get_fignums() == []


def test_a_window_that_a_person_closes_ends_the_film(screen, monkeypatch):
    from matplotlib import pyplot

    monkeypatch.setattr("matplotlib.pyplot.fignum_exists", lambda _number: len(screen) < 2)
    env = Clock(length=9, max_steps=9)
    Film(env, play(RandomActor(0), env, 0)).show()
    assert len(screen) == 2
    pyplot.close("all")


# --------------------------------------------------------------------- training

SHORT = ("env.max_steps=5", "evaluation.every_env_steps=200")


def content(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, by path; configuration and times aside."""
    leaves, _ = torch.utils._pytree.tree_flatten_with_path(load_checkpoint(path))
    named = {torch.utils._pytree.keystr(keys): value for keys, value in leaves}
    return {name: value for name, value in named.items() if "['config']" not in name and "train_seconds" not in name}


def metrics(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


def test_training_is_bit_equal_with_and_without_films(run_small):
    plain, _ = run_small("plain", *SHORT)
    filmed, _ = run_small("filmed", *SHORT, "evaluation.film=gif", drawn=True)
    a, b = (content(folder / "checkpoints" / "last.ckpt") for folder in (plain, filmed))
    assert a.keys() == b.keys()
    assert len(a) > 50
    for name, value in a.items():
        assert torch.equal(value, b[name]) if isinstance(value, torch.Tensor) else value == b[name], name
    rows = [metrics(folder) for folder in (plain, filmed)]
    for row in (*rows[0], *rows[1]):
        row.pop("train_seconds")
    assert rows[0] == rows[1]
    assert not (plain / "films").exists()


def test_every_evaluation_leaves_a_film(run_small):
    folder, _ = run_small("run", *SHORT, "evaluation.film=gif", "env=nav", drawn=True)
    tested = [row["env_steps"] for row in metrics(folder) if row["test_return_mean"]]
    assert len(tested) == 3
    assert sorted(p.name for p in (folder / "films").iterdir()) == sorted(f"{steps}.gif" for steps in tested)
    films = [imageio.imread(folder / "films" / f"{steps}.gif") for steps in tested]
    for film in films:
        assert len(film) == 6
        assert (film[0] != film[-1]).any()
        np.testing.assert_array_equal(film[0], films[0][0])  # all from one start


def test_tensorboard_has_the_film_as_an_animated_image(run_small):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, _ = run_small(
        "run", *SHORT, "evaluation.at_start=false", "evaluation.film=mp4", "logger=tensorboard", drawn=True
    )
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0}).Reload()
    films = sorted((folder / "films").iterdir(), key=lambda path: int(path.stem))
    images = events.Images("film")
    assert [image.step for image in images] == [int(path.stem) for path in films]
    assert [path.suffix for path in films] == [".mp4"] * 2
    with Image.open(io.BytesIO(images[-1].encoded_image_string)) as image:
        assert image.format == "GIF"
        assert image.n_frames > 1
        assert image.size == (images[-1].width, images[-1].height)


def test_an_unknown_format_is_refused_before_training(small):
    with pytest.raises(InputError, match=r"evaluation\.film: expected one of gif, mp4, got 'avi'"):
        compose([*small, "evaluation.film=avi"])


def test_an_oracle_can_be_filmed():
    env = SysAdmin(4, max_steps=5)
    frames = play(BaselineActor(lambda env: env.oracle()), env, 0)
    assert len(list(Film(env, frames).images())) == len(frames) == 6
