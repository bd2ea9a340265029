"""Checkpoints on disk: written whole or not at all, read without executing anything."""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from lomaq.errors import InputError
from lomaq.training.checkpoint import AtomicCheckpointIO, find_checkpoint, load_checkpoint, save_atomic


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    content = {"lomaq": {"env_steps": 3, "returns": [1.5]}, "state_dict": {"x": torch.arange(4.0)}}
    save_atomic(content, tmp_path / "new" / "a.ckpt")
    loaded = load_checkpoint(tmp_path / "new" / "a.ckpt")
    assert loaded["lomaq"] == content["lomaq"]
    assert torch.equal(loaded["state_dict"]["x"], torch.arange(4.0))


class Full:
    """Stands for a disk that is full in the middle of a file."""

    def __reduce__(self) -> Any:
        raise OSError(28, "No space left on device")


def test_a_write_that_fails_leaves_the_file_before_it_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"lomaq": {"env_steps": 1}}, place)
    with pytest.raises(OSError, match="No space left"):
        save_atomic({"lomaq": {"env_steps": 2}, "large": torch.zeros(1000), "full": Full()}, place)
    assert load_checkpoint(place)["lomaq"] == {"env_steps": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_folder_means_the_first_of_the_names_that_it_has(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    last, best = (tmp_path / "checkpoints" / name for name in ("last.ckpt", "best.ckpt"))
    last.touch()
    assert find_checkpoint(tmp_path, ("best.ckpt", "last.ckpt")) == last
    best.touch()
    assert find_checkpoint(tmp_path, ("best.ckpt", "last.ckpt")) == best
    assert find_checkpoint(last, ("best.ckpt",)) == last  # a file means itself
    with pytest.raises(InputError, match=r"checkpoint: .*best\.ckpt or last\.ckpt"):
        find_checkpoint(tmp_path / "nowhere", ("best.ckpt", "last.ckpt"))


class Executed:
    """What it is pickled as runs when it is read."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("executed"),))


def test_a_pickle_in_a_checkpoint_is_refused_and_not_executed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"lomaq": {}, "x": Executed()}, tmp_path / "evil.ckpt")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Executed()))
    for name in ("evil.ckpt", "plain.pkl"):
        with pytest.raises(InputError, match="damaged or foreign"):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    save_atomic({"lomaq": {"x": torch.zeros(1000)}}, tmp_path / "whole.ckpt")
    whole = (tmp_path / "whole.ckpt").read_bytes()
    for number, content in enumerate((b"", b"PK\x03\x04 nothing", whole[: len(whole) // 2], whole[100:])):
        place = tmp_path / f"{number}.ckpt"
        place.write_bytes(content)
        with pytest.raises(InputError, match="a checkpoint file"):
            load_checkpoint(place)
    for content in ({"state_dict": {}}, torch.zeros(3)):
        torch.save(content, tmp_path / "other.ckpt")
        with pytest.raises(InputError, match="something else"):
            load_checkpoint(tmp_path / "other.ckpt")


def test_every_flipped_bit_is_refused_or_changes_nothing_that_is_read(tmp_path: Path) -> None:
    weights = {"x": torch.arange(200.0), "y": torch.ones(3, dtype=torch.bool)}
    content = {"lomaq": {"env_steps": 3}, "state_dict": weights}
    save_atomic(content, tmp_path / "a.ckpt")
    whole, generator, refused = (tmp_path / "a.ckpt").read_bytes(), random.Random(0), 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
        (tmp_path / "b.ckpt").write_bytes(damaged)
        try:
            loaded = load_checkpoint(tmp_path / "b.ckpt")
        except InputError:
            refused += 1
        else:  # the bit was padding, or of a header that says what another one says
            assert loaded["lomaq"] == content["lomaq"]
            assert all(torch.equal(loaded["state_dict"][name], x) for name, x in weights.items())
    assert refused > 100


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_finite_numbers_are_refused_by_their_name(tmp_path: Path, bad: float) -> None:
    weights = {"networks.a": torch.ones(2), "networks.b": torch.tensor([1.0, bad])}
    save_atomic({"lomaq": {}, "state_dict": weights}, tmp_path / "a.ckpt")
    with pytest.raises(InputError, match=r"expected finite numbers, got NaN or infinity in state_dict\.networks\.b"):
        load_checkpoint(tmp_path / "a.ckpt")


def test_a_run_that_was_stopped_before_its_first_checkpoint_says_how_to_start_it_again(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    with pytest.raises(InputError, match="start it again with the same settings and run_dir="):
        find_checkpoint(tmp_path, ("last.ckpt",))
