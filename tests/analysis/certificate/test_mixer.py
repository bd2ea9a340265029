import json
import math
from dataclasses import replace

import pytest
import torch
from matplotlib.image import imread

from lomaq.analysis.certificate.decay import exact_decay
from lomaq.analysis.certificate.joint import exact_qsm
from lomaq.analysis.certificate.mixer import certify
from lomaq.analysis.certificate.probe import Probe
from lomaq.graphs import AgentGraph, Partition
from lomaq.mixers import GCNMixer, MaskedMLPMixer, SumMixer
from lomaq.plots.certificate import draw_certificate


def certificate(mix=None, n=6, kappa=1, states=8, **options):
    """Certificate of a GCN on a line, ``mix`` being done to its values."""
    torch.manual_seed(0)
    graph, partition = AgentGraph.line(n), Partition.singletons(n)
    mixer = GCNMixer(graph, partition, kappa, 8, activation="split")
    utilities = torch.randn(states, n, 3)
    mixed = mixer if mix is None else lambda u, o: mix(mixer(u, o), u)
    return certify(Probe(mixed, graph, partition, kappa, utilities[..., 0]), utilities, **options)


def verdicts(found):
    return {name: passed for name, passed, _ in found.checks()}


def test_a_sound_mixer_gets_its_certificate_line_by_line():
    found = certificate(kappa=3)
    assert found.passed
    assert (found.n_agents, found.n_blocks, found.kappa, found.n_states) == (6, 6, 3, 8)
    monotone, local, consistent, igm, qsm, truncated = found.lines()
    proved = (
        "monotone    pass  proved for all values, no weight is negative, no activation falls; sampled: smallest slope "
    )
    assert monotone.startswith(proved)
    assert " of 240 slopes (30 pairs of block and agent at 8 states); no fall in " in monotone  # 4 + 5 + 6 + 6 + 5 + 4
    assert monotone.endswith(" steps along the utility of one of 6 agents")
    assert consistent == "consistent  pass  the same values again, in another order and for 8 states alone"
    assert local == "local       pass  not one bit changed in 6 pairs of block and agent beyond 3 hops at 8 states"
    joint = "greedy is best among all 729 joint actions in each of 8 states"
    assert igm == f"IGM         pass  proved, as monotone is; {joint}"
    assert qsm.startswith("QSM         pass  proved, as monotone is; the blocks' maxima add up ")
    assert truncated.startswith("truncation        mean error ")
    assert truncated.endswith(" over 3 points")


def test_a_sample_is_called_a_sample():
    lines = certificate(lambda values, u: values, n=9, limit=100).lines()
    assert lines[0].startswith("monotone    pass  sampled: smallest slope ")  # a function in place of the mixer
    assert lines[3].startswith("IGM         pass  greedy is best among a sample of 102 joint actions")
    assert "among a sample of 102 joint actions" in lines[4]  # 2 · 9 deviations, 16 pairs, 64 drawn, 4 ascents


@pytest.mark.parametrize(
    ("mix", "failed"),
    [
        (lambda values, u: values - u, {"monotone"}),
        (lambda values, u: values + 1e-3 * u.roll(3, -1), {"local"}),
        (lambda values, u: values - 3 * u - u.roll(3, -1), {"monotone", "local"}),
        (lambda values, u: values * math.nan, {"monotone", "local", "IGM", "QSM"}),
    ],
    ids=["falling", "leaking", "both", "NaN"],
)
def test_a_broken_mixer_fails_where_it_is_broken(mix, failed):
    found = certificate(mix)
    assert not found.passed
    assert failed <= {name for name, passed in verdicts(found).items() if passed is False}
    assert {"monotone", "local"} - failed == {n for n in ("monotone", "local") if verdicts(found)[n]}


def test_failures_say_how_many_how_much_and_who():
    lines = certificate(lambda values, u: values - 3 * u.roll(3, -1) - u).lines()
    assert lines[0].startswith("monotone    FAIL  sampled: smallest slope -")
    assert " negative (" in lines[0]
    assert " falls by up to " in lines[0]
    assert "FAIL  6 blocks changed, by up to " in lines[1]
    assert "; worst: block " in lines[1]
    assert " depends on agent " in lines[1]
    assert "greedy is beaten by up to " in lines[3]
    assert " too much in " in lines[4]


def test_a_proof_saves_no_mixer_that_a_sample_finds_to_fall_and_the_line_says_both():
    class Sure(SumMixer):
        def _mix(self, utilities, observations):
            return utilities - 2 * utilities.detach()

        def _multipliers(self):  # what it claims is not what it does
            return []

    graph, partition, utilities = AgentGraph.line(4), Partition.singletons(4), torch.randn(8, 4, 2)
    found = certify(Probe(Sure(graph, partition, 0), graph, partition, 0, utilities[..., 0]), utilities)
    assert (found.passed, found.proof is None) == (False, False)
    assert found.lines()[0].startswith("monotone    FAIL  proved for all values, no weight ")
    assert " falls by up to " in found.lines()[0]
    assert found.lines()[3].startswith("IGM         FAIL  greedy is beaten ")  # no word of a proof


def test_a_found_violation_of_igm_fails_a_mixer_that_promises_to_be_monotone_and_no_soft_one():
    graph, partition = AgentGraph.line(3), Partition.singletons(3)
    mixer = MaskedMLPMixer(graph, partition, 1, 4, monotonicity="soft")
    utilities = torch.randn(8, 3, 2)
    found = certify(Probe(mixer, graph, partition, 1, utilities[..., 0]), utilities)
    assert (found.hard, found.passed) == (False, True)
    violated = replace(found, joint=replace(found.joint, igm_share=0.5, igm_largest=1.0))
    assert violated.passed
    assert violated.lines()[3].startswith("IGM         FAIL  ")
    assert violated.lines()[3].endswith("; a soft mixer promises none")
    assert not replace(violated, hard=True).passed


def test_soft_mixers_are_not_tried_far_outside_of_what_was_visited():
    graph, partition, utilities = AgentGraph.line(3), Partition.singletons(3), torch.randn(8, 3, 2)

    class Falling(SumMixer):
        def _mix(self, utilities, observations):
            return utilities - 2 * (utilities - 20).clamp(min=0)

    mixer = Falling(graph, partition, 0)
    assert not certify(Probe(mixer, graph, partition, 0, utilities[..., 0]), utilities).passed
    mixer.hard = False
    assert certify(Probe(mixer, graph, partition, 0, utilities[..., 0]), utilities).passed


def test_a_line_whose_every_agent_is_seen_says_so():
    assert certificate(n=3, kappa=2).lines()[1] == "local       pass  no agent is beyond 2 hops of any block"


def test_exact_values_get_lines_without_a_verdict():
    exact = exact_qsm(torch.tensor([[[0.0, 3.0]], [[1.0, 0.0]]]), Partition.singletons(2))  # sums 1 and 3, gap 1
    found = certificate(exact=exact, decay=exact_decay(torch.zeros(2, 4, 4), AgentGraph.line(2), 2))
    assert found.lines()[-2] == "exact decay       Q_i depends on agent i alone"
    assert found.lines()[-1] == (
        "exact QSM         holds in 0.0% of 1 states with 2 joint actions each; "
        "gap 50.00% of the value range on average, 50.00% at most"
    )
    assert found.passed


@pytest.mark.parametrize("mix", [None, lambda values, u: values * math.nan], ids=["sound", "NaN"])
def test_json_is_strict_and_complete(mix):
    found = certificate(mix)
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert content["passed"] is found.passed
    assert content["slopes"]["passed"] is found.slopes.passed
    assert (content["differences"]["passed"], content["consistency"]["passed"]) == (mix is None, True)
    assert (content["hard"], content["proof"]) == (True, found.proof)
    assert content["locality"]["largest_change"] == (0.0 if mix is None else "inf")
    assert content["joint"]["exhaustive"] is True
    assert content["truncation"]["mean_error"] == list(found.truncation.mean_error)
    assert content["exact"] is None


def test_equal_seeds_give_equal_certificates():
    leak = lambda values, u: values + u.roll(3, -1)  # noqa: E731
    assert certificate(leak, n=9, limit=1, seed=3) == certificate(leak, n=9, limit=1, seed=3)


@pytest.mark.parametrize(
    "options",
    [
        {"kappa": 0},
        {"kappa": 1},
        {"kappa": 4, "n": 12},
        {"states": 1},
        {"mix": lambda values, u: values - u},
        {"mix": lambda values, u: values * math.nan},
        {"exact": exact_qsm(torch.randn(6, 2, 4), Partition.singletons(6))},
    ],
    ids=["kappa 0", "kappa 1", "kappa 4", "one state", "falling", "NaN", "exact"],
)
def test_every_certificate_can_be_drawn(tmp_path, options):
    path = draw_certificate(tmp_path / "certificate.png", certificate(**options), "a line")
    assert path == tmp_path / "certificate.png"
    picture = imread(path)
    assert picture.shape[:2] == (960, 1080)
    assert picture[..., :3].std() > 0.05
