"""``lomaq certify``: what it says and writes about a run, and what a mistake answers."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from lomaq import cli
from lomaq.config import compose
from lomaq.training.checkpoint import load_checkpoint, save_atomic
from lomaq.training.run import train

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def finished(small, tmp_path_factory) -> Path:
    """A finished small run for tests that write nothing into it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(compose(small), folder, Console(file=io.StringIO()))
    return folder


def test_a_certificate_is_one_line_a_check_and_two_files_in_the_run_folder(command, trained: Path) -> None:
    status, out, err = command(cli.main, "certify", f"checkpoint={trained}")
    assert (status, err) == (0, "")
    monotone, local, consistent, igm, qsm, truncated, conflict, report, picture = out.splitlines()
    assert monotone.startswith("monotone    pass  proved for all values, ")
    assert "; sampled: smallest slope " in monotone
    assert consistent.startswith("consistent  pass  ")
    assert local == "local       pass  not one bit changed in 2 pairs of block and agent beyond 1 hop at 64 states"
    assert (
        igm == "IGM         pass  proved, as monotone is; greedy is best among all 8 joint actions in each of 64 states"
    )
    assert qsm.startswith("QSM         pass  ")
    assert truncated.startswith("truncation        mean error ")
    assert conflict.startswith("conflict          blocks lose ")
    assert report == f"report     {trained / 'certificate.json'}"
    assert picture == f"picture    {trained / 'certificate.png'}"
    written = json.loads((trained / "certificate.json").read_text())
    assert written["checkpoint"] == str(trained / "checkpoints" / "best.ckpt")
    assert written["passed"] is True
    assert (written["n_agents"], written["n_states"]) == (3, 64)
    assert (trained / "certificate.png").read_bytes().startswith(b"\x89PNG")


def test_a_certificate_goes_where_it_is_told_and_leaves_the_run_alone(command, finished: Path, tmp_path) -> None:
    before = {p: p.read_bytes() for p in finished.rglob("*") if p.is_file()}
    last = finished / "checkpoints" / "last.ckpt"
    words = (f"checkpoint={last}", "states=5", "epsilon=0.5", "tolerance=0.2", "samples=3", "seed=1", "output='a[b]/7'")
    status, out, err = command(cli.main, "certify", *words)
    assert (status, err) == (0, "")
    assert {p.name for p in (tmp_path / "a[b]" / "7").iterdir()} == {"certificate.json", "certificate.png"}
    assert "report     a[b]/7/certificate.json" in out
    assert "in each of 5 states" in out
    written = json.loads((tmp_path / "a[b]" / "7" / "certificate.json").read_text())
    assert written["checkpoint"] == str(last)
    assert written["truncation"]["tolerance"] == 0.2
    assert {p: p.read_bytes() for p in finished.rglob("*") if p.is_file()} == before


def test_a_certificate_repeats_with_its_seed(command, finished: Path) -> None:
    first, again, other = (
        command(cli.main, "certify", f"checkpoint={finished}", f"seed={seed}", f"output={seed}") for seed in (0, 0, 1)
    )
    assert (first[0], first[1].replace("certificate.", "certificate-2."), first[2]) == again
    assert first[1] != other[1]


def test_a_mixer_with_negative_weights_gets_no_certificate_and_status_1(command, small, tmp_path) -> None:
    assert command(cli.train_main, *small, "mixer.monotonicity=projection", "run_dir=run")[0] == 0
    assert command(cli.main, "certify", "checkpoint=run")[0] == 0
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    content = load_checkpoint(best)
    content["state_dict"]["networks.mixer.w1"][0] = -1.0  # where the first agent of a neighbourhood enters
    save_atomic(content, best)
    status, out, err = command(cli.main, "certify", "checkpoint=run")
    assert (status, err) == (1, "")
    monotone, local, *_ = out.splitlines()
    assert monotone.startswith("monotone    FAIL  sampled: smallest slope -")
    assert " negative (" in monotone
    assert local.startswith("local       pass")
    assert json.loads((tmp_path / "run" / "certificate.json").read_text())["passed"] is True
    assert json.loads((tmp_path / "run" / "certificate-2.json").read_text())["passed"] is False
    assert (tmp_path / "run" / "certificate-2.png").is_file()


def test_of_critics_the_lines_tell_how_far_away_the_gradient_comes_from(command, small, tmp_path) -> None:
    assert command(cli.train_main, *small, "algo=khop_ppo", "run_dir=run")[0] == 0
    status, out, err = command(cli.main, "certify", "checkpoint=run", "episodes=8")
    assert (status, err) == (0, "")
    local, consistent, truncated, gradient, _, picture = out.splitlines()
    assert local.startswith("local       pass  ")
    assert consistent.startswith("consistent  pass  ")
    assert truncated.startswith("truncation        ")
    assert gradient.startswith("gradient          ")
    assert " in 8 episodes" in gradient
    assert picture == "picture    run/certificate.png"
    page = (ROOT / "docs" / "certificate.md").read_text()
    for key, value in json.loads((tmp_path / "run" / "certificate.json").read_text()).items():
        (row,) = [line for line in page.splitlines() if line.startswith("| `") and f"`{key}`" in line.split("|")[1]]
        assert all(f"`{inner}`" in row for inner in (value if isinstance(value, dict) else ()))


def test_the_page_on_certificates_names_every_key_of_the_file_and_shows_its_picture(command, small, tmp_path) -> None:
    page = (ROOT / "docs" / "certificate.md").read_text()
    assert command(cli.train_main, *small, "env=sysadmin", "evaluation.references=false", "run_dir=run")[0] == 0
    assert command(cli.main, "certify", "checkpoint=run")[0] == 0
    written = json.loads((tmp_path / "run" / "certificate.json").read_text())
    assert written["exact"] is not None
    for key, value in written.items():
        (row,) = [line for line in page.splitlines() if line.startswith("| `") and f"`{key}`" in line.split("|")[1]]
        assert all(f"`{inner}`" in row for inner in (value if isinstance(value, dict) else ()))
    assert (ROOT / "docs" / "images" / "certificate.png").is_file()
    assert "](images/certificate.png)" in page


CERTIFY_MISTAKES = {
    "no checkpoint named": (["states=8"], "checkpoint"),
    "no such checkpoint": (["checkpoint=nowhere"], "nowhere"),
    "an unknown key": (["checkpoint={run}", "state=8"], "state"),
    "a setting of the environment": (["checkpoint={run}", "env.n_agents=5"], "env.n_agents"),
    "a word for a number": (["checkpoint={run}", "states=many"], "states"),
    "one state": (["checkpoint={run}", "states=1"], "states"),
    "a large epsilon": (["checkpoint={run}", "epsilon=2"], "epsilon"),
    "no tolerance": (["checkpoint={run}", "tolerance=0"], "tolerance"),
    "no samples": (["checkpoint={run}", "samples=0"], "samples"),
    "few episodes": (["checkpoint={run}", "episodes=1"], "episodes"),
    "hops in words": (["checkpoint={run}", "hops=all"], "hops"),
    "a seed that no generator takes": (["checkpoint={run}", "seed=99999999999999999999"], "seed"),
    "a file for a folder": (["checkpoint={run}", "output={run}/config.yaml"], "output"),
    "a file above the folder": (["checkpoint={run}", "output={run}/config.yaml/here"], "config.yaml"),
    "a foreign file": (["checkpoint={run}/summary.json"], "summary.json"),
    "a sign of nothing": (["checkpoint={run}", "states"], "states"),
}


@pytest.mark.parametrize(("words", "name"), CERTIFY_MISTAKES.values(), ids=CERTIFY_MISTAKES.keys())
def test_a_mistake_in_certify_is_one_line_with_status_2_and_writes_nothing(
    command, finished: Path, words, name
) -> None:
    before = set(finished.rglob("*"))
    status, out, err = command(cli.main, "certify", *(word.format(run=finished) for word in words))
    assert (status, out, len(err.strip().splitlines())) == (2, "", 1), err
    assert err.startswith("error: ")
    assert name in err
    assert set(finished.rglob("*")) == before
