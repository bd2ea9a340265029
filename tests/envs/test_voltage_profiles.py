"""Profiles: the model of sun and load, and days of a file."""

import math

import numpy as np
import pytest
import torch

from lomaq.envs.voltage.profiles import STEPS, Recorded, Synthetic
from lomaq.errors import InputError

CPU = torch.device("cpu")


def days(profiles, n_days=200, steps=STEPS):
    """Load and sun ``[steps, n_days, N]``."""
    generator = torch.Generator().manual_seed(0)
    state, read = profiles.draw(n_days, generator), []
    for time in range(steps):
        read.append(profiles.read(state, torch.full((n_days,), time)))
        state = profiles.following(state, generator)
    load, sun = zip(*read, strict=True)
    return torch.stack(load), torch.stack(sun)


def test_a_synthetic_day_is_what_the_formulas_say():
    profiles = Synthetic(2, CPU)
    state = torch.tensor([[0.5, -1.0, 0.3, 0.2, -0.4, 1.0, -2.0]])  # g, g', x, y, z
    load, sun = profiles.read(state, torch.tensor([40]))  # ten o'clock
    shape = 0.6 + 0.4 * math.exp(-(2**2) / 8) + 0.8 * math.exp(-(9**2) / 12.5)
    bright = math.sin(math.pi * 4 / 12)
    for bus, (y, z) in enumerate([(0.2, 1.0), (-0.4, -2.0)]):
        assert load[0, bus] == pytest.approx(shape * math.exp(0.1 * 0.5 + 0.25 * z), rel=1e-5)
        clear = 0.25 + 0.75 / (1 + math.exp(-1 - -1.0 - 1.5 * 0.3 - 0.5 * y))
        assert sun[0, bus] == pytest.approx(bright * clear, rel=1e-5)


def test_there_is_no_sun_at_night_and_no_load_above_the_largest():
    load, sun = days(Synthetic(5, CPU))
    assert sun[: STEPS // 4].max() == 0
    assert sun[3 * STEPS // 4 :].max() < 1e-6
    assert load.min() > 0
    assert load.max() <= Synthetic.peak_load
    assert 0.8 < sun.max() <= 1


def test_clouds_are_forgotten_sooner_than_loads():
    profiles, generator = Synthetic(40, CPU), torch.Generator().manual_seed(0)
    state = profiles.draw(500, generator)
    after = profiles.following(state, generator)
    assert torch.equal(after[:, :2], state[:, :2])  # of the whole day
    for part, kept in ((slice(3, 43), 0.6), (slice(43, 83), 0.9)):
        found = (after[:, part] * state[:, part]).mean() / state[:, part].square().mean()
        assert abs(float(found) - kept) < 0.02
        assert abs(float(after[:, part].std()) - 1) < 0.02


def table(path, header="load,sun,sun:b", n_days=2, value="0.5"):
    rows = [f"{day + row / 100},{value},0.25" for day in range(n_days) for row in range(STEPS)]
    path.write_text("\n".join([header, *rows]))
    return str(path)


def test_days_of_a_file_are_drawn_whole(tmp_path):
    profiles = Recorded(table(tmp_path / "days.csv"), ("a", "b"), CPU)
    load, sun = days(profiles, n_days=30)
    assert {*load[0].floor().unique().tolist()} == {0.0, 1.0}  # both days come
    np.testing.assert_allclose(load - load[0], np.arange(STEPS)[:, None, None] / 100 + np.zeros((1, 30, 2)), atol=1e-6)
    assert (sun[..., 0] == 0.5).all()
    assert (sun[..., 1] == 0.25).all()
    assert profiles.peak_load == pytest.approx(1.95)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: "", "header|rows"),
        (lambda text: text[:500], "rows"),
        (lambda text: text.replace("0.25", "-0.25", 1), "at least 0"),
        (lambda text: text.replace("0.25", "nan", 1), "at least 0"),
        (lambda text: text.replace("0.25", "dark", 1), "table of numbers"),
        (lambda text: text.replace("0.25", "0.25,1", 1), "table of numbers"),
        (lambda text: text.replace("0.25", "1.5", 1), "sun of at most 1"),
        (lambda text: text.replace("load", "loud", 1), "load:a"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, change, expected):
    path = tmp_path / "days.csv"
    table(path)
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=expected) as error:
        Recorded(str(path), ("a", "b"), CPU)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["missing.csv", "sunny", 3])
def test_an_unknown_profile_is_refused(path):
    with pytest.raises(InputError, match="synthetic or an existing CSV file"):
        Recorded(path, ("a",), CPU)
