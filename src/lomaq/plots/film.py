"""Films of episodes: an actor plays, a renderer draws, and a file or a window shows it."""

from __future__ import annotations

import base64
import importlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lomaq.analysis.stored import FRESH_SEED, Checkpoint
from lomaq.envs import BatchedEnv
from lomaq.errors import INSTALL, InputError, check_choice
from lomaq.evaluation import Actor
from lomaq.plots.renderers import Frame, renderer, snapshot
from lomaq.runs.files import replacing
from lomaq.training.build import actor_of, env_maker
from lomaq.training.callbacks import EVALUATION_SEED, EvaluationCallback
from lomaq.training.loggers import log_gif
from lomaq.training.module import LomaqModule

FORMATS = ("gif", "mp4")
#: Most frames of a film after its start, and of one made while training; most frames a second.
LONG_FILM, SHORT_FILM, MOST_FPS = 200, 100, 20
#: Most colours of a picture in a GIF.
COLOURS = 128
#: Each value's nearest of the 16 levels that a GIF's colour channels have here: what does not move then keeps its
#: colours from palette to palette, and so costs no bytes. And the 4,096 colours that there are, ``[4096, 3]``.
_LEVEL = np.rint(np.arange(256) / 17).astype(np.uint16)
_ALL_COLOURS = np.stack(np.unravel_index(np.arange(16**3), (16, 16, 16)), 1)
#: Seconds for which a window stays open when its episode is over.
LAST_LOOK = 2.0


@torch.no_grad()
def play(actor: Actor, env: BatchedEnv, seed: int, most_frames: int = LONG_FILM) -> list[Frame]:
    """Play one episode and keep what will be shown of it.

    Args:
        actor: Who acts.
        env: The environment, ``n_envs`` = 1; its generator is seeded anew.
        seed: Seed of the episode.
        most_frames: Frames to keep after the start, at least 1; steps between them are skipped.

    Returns:
        The start, frames at equal numbers of steps, and the end. The last ``total`` is the episode's test return.
    """
    assert env.n_envs == 1
    stride = -(-env.max_steps // most_frames)
    frames = list[Frame]()

    def act(env: BatchedEnv, observation: Tensor) -> Tensor:
        if not frames:
            frames.append(Frame(0, snapshot(env)))
        return actor.act(env, observation)

    env.generator.manual_seed(seed)
    actor.reset(env)
    total = 0.0
    for number, step in enumerate(env.episode(act), 1):
        total += env.discount ** (number - 1) * float(step.rewards[0].sum())
        if bool(step.terminated | step.truncated) or number % stride == 0:
            acted, paid = (x[0].cpu().numpy().copy() for x in (step.actions, step.rewards))
            frames.append(Frame(number, snapshot(env), acted, paid, total))
    return frames


@dataclass(frozen=True)
class Film:
    """An episode in ``env`` that can be shown, as :func:`play` kept it."""

    env: BatchedEnv
    frames: list[Frame]

    @property
    def fps(self) -> int:
        """Frames a second: 20 for 100 frames and more, so many that it lasts about five seconds for fewer."""
        return min(MOST_FPS, -(-len(self.frames) // 5))

    def images(self) -> Iterator[np.ndarray]:
        """Its pictures, ``[H, W, 3]`` uint8 with even H and W."""
        picture = renderer(self.env, self.frames)
        for frame in self.frames:
            picture.render(frame)
            yield picture.image()

    def write(self, path: Path) -> None:
        """Write a ``.gif`` or ``.mp4``, whole or not at all; see :func:`check_format`."""
        with replacing(path) as file:
            encode(file, self.images(), path.suffix[1:], self.fps)

    def gif(self) -> bytes:
        """The content of a ``.gif``."""
        file = io.BytesIO()
        encode(file, self.images(), "gif", self.fps)
        return file.getvalue()

    def show(self) -> None:
        """Play it in a window, which closes by itself two seconds after the end.

        Raises:
            InputError: If there is no screen.
        """
        from matplotlib import pyplot

        figure = _open_window()
        picture = renderer(self.env, self.frames, figure)
        for frame in self.frames:
            picture.render(frame)
            pyplot.pause(1 / self.fps)  # draws
            if not pyplot.fignum_exists(figure.number):  # a person closed it
                return
        pyplot.pause(LAST_LOOK)
        pyplot.close(figure)


class FilmCallback(EvaluationCallback):
    """Each evaluation leaves ``films/<env_steps>.gif`` or ``.mp4``, and a GIF in TensorBoard where that logs.

    The episode is the one that an evaluation of one episode would play, in an environment of its own, so that training
    is not changed by it.

    Args:
        run_dir: The run folder.
        ending: A format that passed :func:`check_format`.
    """

    def __init__(self, run_dir: Path, ending: str) -> None:
        self.folder, self.ending = run_dir / "films", ending

    def on_evaluation(self, trainer: Any, module: LomaqModule) -> None:
        seed = EVALUATION_SEED + module.seed
        actor = actor_of(module.run_config, module.networks.utilities, seed)
        with module.make_env(1, 0, module.device) as env:
            film = Film(env, play(actor, env, seed, most_frames=SHORT_FILM))
        film.write(self.folder / f"{module.env_steps}.{self.ending}")
        log_gif(trainer.loggers, "film", film.gif, module.env_steps)


@dataclass(frozen=True)
class Shown:
    """A film that was written, which a notebook shows.

    Attributes:
        path: The file, a GIF or an MP4.
    """

    path: Path

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.path.read_bytes()).decode()
        if self.path.suffix == ".gif":
            return f'<img width="700" src="data:image/gif;base64,{data}">'
        return f'<video width="700" controls loop src="data:video/mp4;base64,{data}"></video>'


def film_checkpoint(stored: Checkpoint, config: dict[str, Any], seed: int, render: str) -> None:
    """Film the episode that ``evaluate`` plays with the same seed and ``episodes=1``.

    Args:
        stored: The checkpoint.
        config: Its configuration, where ``env`` and ``evaluation.sample`` may have been changed.
        seed: Seed of the episode, at least 0.
        render: A path, or ``human``, that passed :func:`check_render`.
    """
    with env_maker(config)(1, 0, torch.device("cpu")) as env:
        actor = actor_of(config, stored.utilities(env), FRESH_SEED + seed)
        film = Film(env, play(actor, env, FRESH_SEED + seed))
    if render == "human":
        film.show()
    else:
        film.write(Path(render))


def check_render(render: object) -> str:
    """Return ``render`` when a film can go there: the path of a ``.gif`` or ``.mp4``, or ``human`` for a window.

    Raises:
        InputError: If it is neither, a folder, or the screen or a package for it is missing.
    """
    if render == "human":
        from matplotlib import pyplot

        pyplot.close(_open_window())
        return "human"
    return check_film("render", render, "a file that ends in .gif or .mp4, or human")


def check_film(name: str, value: object, expected: str = "a file that ends in .gif or .mp4") -> str:
    """Return ``value`` when it is the path of a film that can be written here.

    Raises:
        InputError: If it has another ending, is a folder, or a package for it is missing.
    """
    path = Path(value if isinstance(value, str) else "")
    if path.suffix[1:] not in FORMATS or path.is_dir():
        raise InputError(name, expected, repr(value), f"{name}=episode.gif")
    check_format(name, path.suffix[1:])
    return str(value)


def check_format(name: str, value: object) -> str:
    """Return ``value`` when it is a format of a film that can be written here.

    Raises:
        InputError: If it is none, or a package or ffmpeg is missing.
    """
    check_choice(name, value, FORMATS)
    remedy = INSTALL.format("film")
    try:
        if value == "mp4":
            importlib.import_module("imageio")
            importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
    except ModuleNotFoundError as error:
        raise InputError(name, "installed packages", error, remedy) from error
    except RuntimeError as error:
        raise InputError(name, "ffmpeg for an mp4", "none found", f"take a gif, or {remedy}") from error
    return str(value)


def encode(file: IO[bytes], pictures: Iterable[np.ndarray], ending: str, fps: int) -> None:
    """Write a film into an open file.

    Args:
        file: The file.
        pictures: ``[H, W, 3]`` uint8, all of one size; for an mp4 H and W are even.
        ending: One of ``FORMATS``.
        fps: Frames a second, at least 1.
    """
    if ending == "gif":
        images = map(_with_palette, pictures)
        times = {"duration": 1000 / fps, "loop": 0}  # milliseconds; for ever
        next(images).save(file, "GIF", save_all=True, append_images=images, **times)
        return
    options: dict[str, Any] = {"fps": fps, "codec": "libx264", "macro_block_size": 2, "ffmpeg_log_level": "error"}
    with importlib.import_module("imageio.v2").get_writer(file, format=".mp4", mode="I", **options) as writer:
        for picture in pictures:
            writer.append_data(picture)


def _with_palette(picture: np.ndarray) -> Image.Image:
    """With its most frequent colours as palette; all others are shown as the nearest of these."""
    number = _LEVEL[picture] @ np.array([256, 16, 1], dtype=np.uint16)
    count = np.bincount(number.ravel(), minlength=len(_ALL_COLOURS))
    there = np.flatnonzero(count)
    kept = there[np.sort(np.argsort(-count[there], kind="stable")[:COLOURS])]
    place = np.zeros(len(_ALL_COLOURS), dtype=np.uint8)
    place[there] = ((_ALL_COLOURS[there, None] - _ALL_COLOURS[kept]) ** 2).sum(-1).argmin(1)
    image = Image.fromarray(place[number], "P")
    image.putpalette((17 * _ALL_COLOURS[kept]).astype(np.uint8).tobytes())
    return image


def _open_window() -> Any:
    """A figure of matplotlib's default backend, where that one opens windows."""
    from matplotlib import pyplot

    expected, remedy = "a screen to open a window on", "render=episode.gif writes a file instead"
    try:
        figure = pyplot.figure("lomaq")
    except Exception as error:  # each toolkit has its own error for a missing screen
        raise InputError("render", expected, f"none ({error})", remedy) from error
    if figure.canvas.required_interactive_framework is None:
        pyplot.close(figure)
        raise InputError("render", expected, f"none that matplotlib found ({pyplot.get_backend()})", remedy)
    return figure
