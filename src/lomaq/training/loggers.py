"""Where metrics go besides the files of the run folder: TensorBoard, Weights & Biases and MLflow, any of them at once.

``metrics.csv`` has the same metrics and is always written, so that no logger writes CSV.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from lomaq.errors import INSTALL, InputError, check_bool

#: The loggers, each an extra of this package of the same name.
LOGGERS = ("tensorboard", "wandb", "mlflow")


def check_loggers(settings: dict[str, Any]) -> list[str]:
    """The loggers that are on.

    Args:
        settings: The ``logger`` part of the configuration: on or off for each of :data:`LOGGERS`, ``offline``, whether
            they keep to this machine, and ``project``, what W&B and MLflow file the run under.

    Raises:
        InputError: If a setting is impossible, a package is missing, or MLflow does not know its server.
    """
    chosen = [name for name in LOGGERS if check_bool(f"logger.{name}", settings[name])]
    if not isinstance(settings["project"], str) or not settings["project"]:
        raise InputError("logger.project", "a name", repr(settings["project"]))
    for name in chosen:
        if find_spec(name) is None:
            raise InputError(f"logger={name}", f"the package {name}", "none", INSTALL.format(name))
    if not check_bool("logger.offline", settings["offline"]) and "mlflow" in chosen:
        _server()
    return chosen


@contextmanager
def open_loggers(names: Sequence[str], config: dict[str, Any], run_dir: Path) -> Iterator[list[Logger]]:
    """Loggers that are told the configuration, and closed in the end.

    Args:
        names: Those that :func:`check_loggers` found on; none in a process that does not lead.
        config: The whole configuration; W&B and MLflow keep it with the run.
        run_dir: The run folder, where they write unless they are online.

    Raises:
        InputError: If a logger does not open.
    """
    loggers: list[Logger] = []
    try:
        for name in names:
            try:
                opened = _open(name, config["logger"], run_dir)
                if name != "tensorboard":  # a table of hundreds of settings helps nobody there
                    opened.log_hyperparams(config)
            except Exception as error:  # each package has errors of its own
                remedy = "log in or name its server, or give logger.offline=true"
                raise InputError(
                    f"logger={name}", "one that opens", f"{type(error).__name__}: {error}", remedy
                ) from error
            loggers.append(opened)
        yield loggers
    finally:
        for logger in loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.finish()  # else the next run of this process would continue this one


def log_gif(loggers: Sequence[Logger], tag: str, gif: Callable[[], bytes], env_steps: int) -> None:
    """Show a film among the images of TensorBoard, where that logs.

    Args:
        loggers: The loggers that are open.
        tag: What it is called there.
        gif: Makes the content of a ``.gif``; called only where it is shown.
        env_steps: Env steps so far.
    """
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            summary_pb2 = importlib.import_module("tensorboard.compat.proto.summary_pb2")
            content = gif()
            width, height = (int.from_bytes(content[i : i + 2], "little") for i in (6, 8))  # from the header
            image = summary_pb2.Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=content)
            summary = summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, image=image)])
            writer = logger.experiment.file_writer
            assert writer is not None  # open while the logger is
            writer.add_summary(summary, env_steps)


def _open(name: str, settings: dict[str, Any], run_dir: Path) -> Logger:
    offline, project = settings["offline"], settings["project"]
    if name == "tensorboard":
        return TensorBoardLogger(save_dir=run_dir, name="tensorboard", version="")
    if name == "wandb":
        mode = "offline" if offline else "online"
        return WandbLogger(name=run_dir.name, project=project, save_dir=run_dir, mode=mode)
    return MLFlowLogger(
        experiment_name=project,
        run_name=run_dir.name,
        tracking_uri=f"sqlite:///{run_dir.resolve() / 'mlflow.db'}" if offline else _server(),
        artifact_location=(run_dir.resolve() / "mlflow").as_uri() if offline else None,
    )


def _server() -> str:
    try:
        return os.environ["MLFLOW_TRACKING_URI"]
    except KeyError:
        remedy = "set it to the address of the server, or give logger.offline=true"
        raise InputError("MLFLOW_TRACKING_URI", "an address, with logger.offline=false", "none", remedy) from None
