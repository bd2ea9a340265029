"""Exported policies: they act as the trained network, describe how to be called, and run without this package."""

from __future__ import annotations

import functools
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from rich.console import Console

from lomaq import cli
from lomaq.analysis.stored import Checkpoint, open_checkpoint
from lomaq.config import compose
from lomaq.errors import InputError
from lomaq.export import ExportedPolicy, Parity, export_checkpoint, files
from lomaq.export.policy import open_policy, write_policy
from lomaq.graphs import AgentGraph
from lomaq.nn import Utilities
from lomaq.training.run import train

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "run_policy.py"
#: Overrides of a run, and its agents; in the matrix game each is of a type of its own, with 2 and with 3 actions.
RUNS = {
    "mlp": (),
    "gru": ("agent=gru", "agent.hidden=[16,8]", "agent.last_action=true", "agent.agent_id=true"),
    "types": ("env=matrix", "env.payoffs=[[[0,1,2],[1,2,0]],[[2,1,0],[1,1,3]]]", "agent.hidden=[8]"),
    "policies": ("algo=coma", "agent=gru", "agent.hidden=[8]"),
}
N_AGENTS = {"mlp": 3, "gru": 3, "types": 2, "policies": 3}
#: ONNX files take seconds to write; a policy with a memory is among the quick ones.
ONNX = [name if name in ("mlp", "policies") else pytest.param(name, marks=pytest.mark.slow) for name in RUNS]


@pytest.fixture(scope="module")
def stored(tmp_path_factory, small, three_agents):
    """Checkpoint of a short run, made when first asked for: ``stored("mlp")``."""
    carts, made = three_agents("cartpole"), {}

    def make(name: str) -> Checkpoint:
        if name not in made:
            folder = tmp_path_factory.mktemp("runs") / name
            words = [*(word for word in small if word != carts), "total_env_steps=80", *RUNS[name]]
            words += [carts] if N_AGENTS[name] == 3 else []
            train(compose(words), folder, Console(file=io.StringIO()))
            made[name] = open_checkpoint(folder, resume=False)
        return made[name]

    return make


@pytest.fixture(scope="module")
def exported(tmp_path_factory, stored):
    """Folder and contract of an export, made when first asked for: ``exported("mlp", "onnx")``."""
    made = {}

    def make(name: str, form: str = "onnx"):
        if (name, form) not in made:
            folder = tmp_path_factory.mktemp("exports") / "policy"
            made[name, form] = folder, *export_checkpoint(stored(name), folder, form)
        return made[name, form]

    return make


@pytest.fixture
def alone(tmp_path):
    """Run Python where this package cannot be imported: ``alone("script.py", "argument")``."""
    (tmp_path / "lomaq.py").write_text("raise ImportError('lomaq is not here')\n")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, *words], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )

    return run


def by_hand(stored: Checkpoint, observation: np.ndarray) -> np.ndarray:
    """Utilities ``[B, A]`` of cart-pole's feed-forward network, in NumPy and float64."""
    weights = {name: value.double().numpy() for name, value in stored.weights("networks.utilities.networks.0.").items()}
    x = observation * np.array([1, 1, 5, 1])
    for layer in (0, 3):
        x = x @ weights[f"body.{layer}.weight"].T + weights[f"body.{layer}.bias"]
        x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
        x = np.maximum(x * weights[f"body.{layer + 1}.weight"] + weights[f"body.{layer + 1}.bias"], 0)
    return x @ weights["head.weight"].T + weights["head.bias"]


def session(folder: Path, number: int = 0) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(folder / f"policy-{number}.onnx"))


# ----------------------------------------------------------------------- what it computes


@pytest.mark.parametrize("batch", [1, 2, 33])
def test_an_onnx_policy_computes_the_trained_network_for_any_batch(exported, stored, batch) -> None:
    folder, _, _ = exported("mlp")
    observation = np.random.default_rng(batch).normal(size=(batch, 4)).astype(np.float32)
    mask = np.ones((batch, 2), dtype=bool)
    action, utilities = session(folder).run(None, {"observation": observation, "action_mask": mask})
    expected = by_hand(stored("mlp"), observation)
    np.testing.assert_allclose(utilities, expected, atol=1e-5)
    assert (action == expected.argmax(axis=1)).all()


@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_the_greedy_action_is_the_first_of_the_largest_allowed(tmp_path, form) -> None:
    policy = ExportedPolicy(Utilities(AgentGraph.line(2), obs_size=1, n_actions=4, hidden=(2,)), 0)
    policy.head.weight.zero_()
    policy.head.bias.copy_(torch.tensor([1.0, 3.0, 2.0, 3.0]))
    write_policy(policy, tmp_path / "policy", form)
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 0], [1, 0, 1, 1], [1, 0, 0, 0]], dtype=torch.bool)
    action, utilities = open_policy(tmp_path / "policy", form)({"observation": torch.randn(4, 1), "action_mask": mask})
    assert action.tolist() == [1, 2, 3, 0]
    assert utilities.tolist() == [[1, 3, 2, 3]] * 4


@pytest.mark.parametrize(
    ("name", "form"),
    [*((name, "torch") for name in RUNS), *(("mlp", "onnx"), ("policies", "onnx"))]
    + [pytest.param(name, "onnx", marks=pytest.mark.slow) for name in ("gru", "types")],
)
def test_written_policies_pass_the_comparison_with_the_trained_network(exported, name, form) -> None:
    _, contract, parity = exported(name, form)
    assert parity.passed
    assert parity.observations == 1000 * N_AGENTS[name]
    assert parity.max_abs_difference <= 1e-5
    assert (parity.max_abs_difference_hidden is None) == (name not in ("gru", "policies"))
    assert (parity.max_abs_difference_probabilities is None) == (name != "policies")
    assert parity.equal_actions == parity.observations
    assert parity.largest_loss == 0
    assert contract["parity"]["max_abs_difference"] == parity.max_abs_difference
    assert contract["parity"]["tolerance"] == 1e-5


@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_probabilities_are_the_softmax_of_the_logits_of_allowed_actions(exported, form) -> None:
    folder, contract, parity = exported("policies", form)
    assert 0 <= parity.max_abs_difference_probabilities <= 1e-6
    assert "in logits up to" in parity.line()
    assert "in probabilities" in parity.line()
    observation, mask = np.random.default_rng(0).normal(size=(3, 4)), np.array([[1, 1], [1, 0], [0, 1]], dtype=bool)
    given = {"observation": torch.from_numpy(observation.astype(np.float32)), "hidden": torch.zeros(3, 8)}
    given["action_mask"] = torch.from_numpy(mask)
    act = open_policy(folder / contract["policies"][0]["file"], form)
    action, logits, probabilities, _ = (output.numpy() for output in act(given))
    weights = np.exp(logits.astype(np.float64)) * mask
    np.testing.assert_allclose(probabilities, weights / weights.sum(axis=1, keepdims=True), atol=1e-6)
    assert (probabilities[~mask] == 0).all()
    assert (action == np.where(mask, logits, -np.inf).argmax(axis=1)).all()


def test_the_line_of_the_page_draws_by_the_probabilities() -> None:
    (line,) = re.findall(r"`drawn = (.*?)`", (ROOT / "docs" / "export.md").read_text())
    probabilities = np.tile(np.array([[0.2, 0.0, 0.8]], dtype=np.float32), (10_000, 1))
    drawn = eval(line, {"probabilities": probabilities, "random": np.random.default_rng(0)})
    assert (drawn == 1).sum() == 0
    assert (drawn == 2).mean() == pytest.approx(0.8, abs=4 * (0.8 * 0.2 / 10_000) ** 0.5)


def test_a_recurrent_policy_follows_the_trained_sequence(exported, stored) -> None:
    folder, _, _ = exported("gru", "torch")
    utilities = Utilities(AgentGraph.line(3), 4, 2, "gru", (16, 8), True, [1, 1, 5, 1], last_action=True, agent_id=True)
    utilities.load_state_dict(stored("gru").weights("networks.utilities."))
    generator = torch.Generator().manual_seed(0)
    observation = torch.randn(6, 1, 3, 4, generator=generator)
    previous = torch.randint(0, 2, (6, 1, 3), generator=generator)
    first = torch.tensor([[True], [False], [False], [True], [False], [False]])
    previous[first[:, 0]] = -1
    with torch.no_grad():
        expected, _ = utilities(observation, previous, first, utilities.initial_hidden(1, torch.device("cpu")))
    act, hidden = open_policy(folder / "policy-0.pt2", "torch"), torch.zeros(3, 8)
    for t in range(6):
        hidden = torch.zeros(3, 8) if first[t, 0] else hidden
        given = {"observation": observation[t, 0], "action_mask": torch.ones(3, 2, dtype=torch.bool)}
        given |= {"previous_action": previous[t, 0], "agent": torch.arange(3), "hidden": hidden}
        _, found, hidden = act(given)
        torch.testing.assert_close(found, expected[t, 0], atol=1e-5, rtol=0)


# ------------------------------------------------------------------------ the contract


def test_the_contract_names_what_goes_in_and_comes_out(exported) -> None:
    folder, contract, _ = exported("gru", "torch")
    assert json.loads((folder / "contract.json").read_text()) == contract
    (policy,) = contract["policies"]
    ports = {port["name"]: (port["dtype"], port["shape"]) for port in policy["inputs"]}
    assert ports == {
        "observation": ("float32", ["batch", 4]),
        "action_mask": ("bool", ["batch", 2]),
        "previous_action": ("int64", ["batch"]),
        "agent": ("int64", ["batch"]),
        "hidden": ("float32", ["batch", 8]),
    }
    assert [(port["name"], port["shape"]) for port in policy["outputs"]] == [
        ("action", ["batch"]),
        ("utilities", ["batch", 2]),
        ("next_hidden", ["batch", 8]),
    ]
    assert {port["name"]: (port["at_start"], port["then"]) for port in policy["inputs"] if "then" in port} == {
        "previous_action": (-1, "action"),
        "hidden": (0, "next_hidden"),
    }


def test_the_contract_calls_the_outputs_of_a_policy_by_what_they_are(exported) -> None:
    _, contract, _ = exported("policies")
    assert contract["parity"]["max_abs_difference_probabilities"] is not None
    for policy in contract["policies"]:
        assert [(port["name"], port["dtype"], port["shape"]) for port in policy["outputs"]] == [
            ("action", "int64", ["batch"]),
            ("logits", "float32", ["batch", 2]),
            ("probabilities", "float32", ["batch", 2]),
            ("next_hidden", "float32", ["batch", 8]),
        ]
        assert policy["outputs"][0]["meaning"].startswith("the most probable allowed action")


@pytest.mark.parametrize("name", ONNX)
def test_the_contract_and_the_onnx_files_agree(exported, name) -> None:
    folder, contract, _ = exported(name)
    dtypes = {"float32": "tensor(float)", "int64": "tensor(int64)", "bool": "tensor(bool)"}
    for number, policy in enumerate(contract["policies"]):
        model = session(folder, number)
        for ports, nodes in ((policy["inputs"], model.get_inputs()), (policy["outputs"], model.get_outputs())):
            expected = [(port["name"], dtypes[port["dtype"]], port["shape"]) for port in ports]
            assert [(node.name, node.type, node.shape) for node in nodes] == expected


def test_the_contract_describes_agents_graph_normalisation_and_training(exported, stored) -> None:
    folder, contract, _ = exported("mlp")
    assert {path.name for path in folder.iterdir()} == {"contract.json", "policy-0.onnx"}
    assert contract["format_version"] == 1
    assert contract["environment"]["name"] == "cartpole"
    assert contract["environment"]["settings"]["n_agents"] == contract["n_agents"] == 3
    assert contract["graph"] == {"n_agents": 3, "edges": [[0, 1], [1, 2]]}
    assert contract["normalisation"] == {
        "observation_scale": [1, 1, 5, 1],
        "normalise": False,
        "applied": "inside the policy",
    }
    assert contract["policies"][0]["agents"] == [0, 1, 2]
    assert contract["trained_env_steps"] == stored("mlp").state["lomaq"]["env_steps"]
    assert {"lomaq", "torch", "onnx", "onnxruntime"} <= contract["versions"].keys()


def test_every_agent_type_has_a_policy_of_its_own(exported) -> None:
    folder, contract, _ = exported("types", "torch")
    assert [policy["agents"] for policy in contract["policies"]] == [[0], [1]]
    given = {"observation": torch.ones(1, 1), "action_mask": torch.ones(1, 3, dtype=torch.bool)}
    utilities = [open_policy(folder / policy["file"], "torch")(given)[1] for policy in contract["policies"]]
    assert not np.allclose(utilities[0], utilities[1])


def test_weights_are_inside_the_file_and_no_path_of_this_machine_is(exported) -> None:
    for form, ending in (("onnx", "onnx"), ("torch", "pt2")):
        content = (exported("policies", form)[0] / f"policy-0.{ending}").read_bytes()
        assert str(ROOT).encode() not in content
    model = onnx.load(exported("policies")[0] / "policy-0.onnx", load_external_data=False)
    onnx.checker.check_model(model)
    assert not any(weight.external_data for weight in model.graph.initializer)


# ------------------------------------------------------------------ without this package


@pytest.mark.parametrize("name", ONNX)
def test_the_example_acts_without_this_package(exported, alone, name) -> None:
    assert "not here" in alone("-c", "import lomaq").stderr
    result = alone(str(EXAMPLE), str(exported(name)[0]))
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list("01234")
    actions = np.array([json.loads(line.split(" ", 1)[1]) for line in lines])
    assert actions.shape == (5, N_AGENTS[name])
    assert set(actions.ravel()) <= {0, 1, 2}


def test_the_example_is_about_twenty_lines_of_numpy_and_onnxruntime() -> None:
    lines = [line for line in EXAMPLE.read_text().splitlines() if line.strip()]
    assert len(lines) <= 25
    imports = {line.split()[1] for line in lines if line.startswith(("import ", "from "))}
    assert imports == {"json", "sys", "pathlib", "numpy", "onnxruntime"}


@pytest.mark.slow
def test_the_lines_of_the_page_run_a_torch_policy_without_this_package(exported, alone, tmp_path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.DOTALL)
    (tmp_path / "exported").symlink_to(exported("gru", "torch")[0])
    result = alone("-c", code.replace("runs/carts/policy-torch", "exported"))
    assert result.returncode == 0, result.stderr
    actions = json.loads(result.stdout)
    assert len(actions) == 3
    assert set(actions) <= {0, 1}


# ------------------------------------------------------------------------ what is refused


@pytest.fixture
def command(command):
    """Run ``lomaq export``: ``command(*words)`` → (status, out, err)."""
    return functools.partial(command, cli.main, "export")


def test_the_command_writes_a_folder_and_says_where(command, stored, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    words = (f"checkpoint={stored('mlp').run_dir}", "format=torch", f"output={tmp_path / 'empty'}")
    status, out, err = command(*words)
    assert (status, err) == (0, "")
    assert "same action in 3,000 of 3,000 observations" in out
    assert f"{tmp_path / 'empty' / 'policy-0.pt2'}, 3 agents" in out
    assert {path.name for path in (tmp_path / "empty").iterdir()} == {"contract.json", "policy-0.pt2"}
    assert list(tmp_path.iterdir()) == [tmp_path / "empty"]
    status, _, err = command(*words)
    assert status == 2
    assert err.startswith("error: output: expected a new or empty folder, got ")
    assert err.count("\n") == 1


def test_policies_go_into_the_run_folder_by_default(command, stored) -> None:
    folder = stored("mlp").run_dir
    assert command(f"checkpoint={folder}", "format=torch")[0] == 0
    assert (folder / "policy-torch" / "contract.json").is_file()


def test_a_policy_that_differs_ends_with_status_1_and_leaves_nothing(command, stored, tmp_path, monkeypatch) -> None:
    def careless(policy, path, form):
        policy.head.bias[0] += 2e-5
        write_policy(policy, path, form)

    monkeypatch.setattr(files, "write_policy", careless)
    words = (f"checkpoint={stored('mlp').run_dir}", "format=torch", f"output={tmp_path / 'new'}")
    status, out, err = command(*words)
    assert (status, out) == (1, "")
    assert err.startswith("error: parity: expected policies within 1.0e-05 of the trained network, got ")
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_diverged_checkpoint_is_refused(stored, tmp_path) -> None:
    state = stored("mlp").state
    name = "networks.utilities.networks.0.head.bias"
    broken = {**state["state_dict"], name: torch.full((2,), torch.nan)}
    with pytest.raises(InputError, match=r"^checkpoint: expected finite utilities, got NaN"):
        export_checkpoint(
            Checkpoint(Path("x"), stored("mlp").config, {**state, "state_dict": broken}), tmp_path / "new", "torch"
        )
    assert not list(tmp_path.iterdir())


def test_weights_of_another_network_are_refused(stored, tmp_path) -> None:
    mixed = Checkpoint(Path("x"), stored("mlp").config, stored("gru").state)
    with pytest.raises(InputError, match=r"^checkpoint: expected the weights of the networks that its configuration"):
        export_checkpoint(mixed, tmp_path / "new", "torch")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named_with_its_remedy(stored, tmp_path, monkeypatch, package) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    line = rf"^format: expected the packages .* for onnx, got no {package}; pip install '\.\[export\]'"
    with pytest.raises(InputError, match=line):
        export_checkpoint(stored("mlp"), tmp_path / "new")


MISTAKES = {
    "no checkpoint": ((), "checkpoint: expected checkpoint=PATH"),
    "another format": (("checkpoint=RUN", "format=tflite"), "format: expected one of onnx, torch, got 'tflite'"),
    "an unknown key": (("checkpoint=RUN", "opset=20"), "opset: expected checkpoint, format, output, modules, got 20"),
    "a missing run": (("checkpoint=nowhere",), "checkpoint: expected a checkpoint file or a run folder"),
    "a file": (("checkpoint=RUN", "output=RUN/config.yaml"), "output: expected a new or empty folder"),
    "below a file": (("checkpoint=RUN", "output=RUN/config.yaml/x"), "output: expected a path that can be used"),
}


@pytest.mark.parametrize(("words", "line"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_answered_in_one_line(command, stored, words, line) -> None:
    status, _, err = command(*(word.replace("RUN", str(stored("mlp").run_dir)) for word in words))
    assert status == 2
    assert err.startswith(f"error: {line}")
    assert err.count("\n") == 1


# --------------------------------------------------------------------- the comparison itself


@pytest.mark.parametrize(
    ("parity", "passed"),
    [
        (Parity(1, 1e-5, None, 1.0, 1, 0.0), True),
        (Parity(1, 1.1e-5, None, 1.0, 1, 0.0), False),
        (Parity(1, 1.9e-4, None, 100.0, 1, 0.0), True),  # float32 is no finer there
        (Parity(1, 2.1e-4, None, 100.0, 1, 0.0), False),
        (Parity(1, 0.0, 1.1e-5, 100.0, 1, 0.0), False),
        (Parity(1, float("nan"), None, 1.0, 1, 0.0), False),
        (Parity(1, 0.0, float("nan"), 1.0, 1, 0.0), False),
        (Parity(1, 0.0, None, 1.0, 1, 0.0, 1e-5), True),
        (Parity(1, 0.0, None, 1.0, 1, 0.0, 1.1e-5), False),
        (Parity(1, 0.0, None, 1.0, 1, 0.0, float("nan")), False),
        (Parity(2, 0.0, None, 1.0, 1, 1e-6), True),  # another action that is as good
        (Parity(2, 0.0, None, 1.0, 1, float("inf")), False),  # one that is not allowed
    ],
)
def test_parity_passes_within_its_tolerance_only(parity, passed) -> None:
    assert parity.passed == passed
