"""``compile=true``."""

import pytest
import torch

from lomaq.training import compiled


def test_without_a_compiler_a_run_says_so_once_and_trains_as_it_is(run_small, monkeypatch, capsys) -> None:
    plain, _ = run_small("plain")

    def missing(*_: object, **__: object) -> None:
        raise RuntimeError("\nno C++ compiler\nsecond line")

    monkeypatch.setattr(torch, "compile", missing)
    folder, _ = run_small("run", "compile=true")
    a, b = (torch.load(x / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for x in (plain, folder))
    assert all(torch.equal(value, b[name]) for name, value in a.items())
    reason = compiled.compile_networks([], torch.device("cpu"))
    assert reason is not None
    assert "C++ compiler" in reason
    assert "second line" not in reason


@pytest.mark.slow
def test_a_compiled_run_learns_the_same_numbers(run_small) -> None:
    folders = [run_small(name, f"compile={word}")[0] for name, word in (("plain", "false"), ("compiled", "true"))]
    a, b = (torch.load(x / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for x in folders)
    assert a.keys() == b.keys()
    for name, value in a.items():
        if value.layout == torch.strided:
            torch.testing.assert_close(value, b[name], rtol=1e-3, atol=1e-4)
