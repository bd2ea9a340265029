"""Tables of results on the pages are those that the stored raw results give."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pytest

from lomaq.studies.report import table

ROOT = Path(__file__).resolve().parents[1]
#: Method → its name in tables, local rewards first.
NAMES = {
    "lomaq": "LOMAQ",
    "lomaq_gcn": "LOMAQ, GCN",
    "lomaq_soft": "LOMAQ-s",
    "iql_local": "IQL, local rewards",
    "vdn_local": "local VDN",
    "iql_nbr": "IQL, κ-hop rewards",
    "lomaq_rd": "LOMAQ+RD",
    "vdn": "VDN",
    "dcg": "DCG",
    "ow_qmix": "OW-QMIX",
    "qmix": "QMIX",
    "cw_qmix": "CW-QMIX",
    "qplex": "QPLEX",
    "graphmix": "GraphMIX",
    "iql": "IQL, team reward",
    "qtran": "QTRAN",
    "coma": "COMA",
}
#: Name in results/dilemma/summary.json → name in tables. "tied" is mixer.weight_sharing=1.
DILEMMA = {
    "LOMAQ": "LOMAQ, the paper's mixer (`mixer.weight_sharing=0`)",
    "LOMAQ, tied": "LOMAQ, `mixer.weight_sharing=1`",
    "LOMAQ GCN, tied": "LOMAQ, GCN, `mixer.weight_sharing=1`",
    "local VDN": "local VDN",
    "IQL κ-hop": "IQL, κ-hop rewards",
    "IQL local": "IQL, local rewards",
    "VDN": "VDN",
    "QMIX": "QMIX",
    "OW-QMIX": "OW-QMIX",
    "CW-QMIX": "CW-QMIX",
    "QPLEX": "QPLEX",
    "GraphMIX": "GraphMIX",
    "QTRAN": "QTRAN",
    "DCG": "DCG",
    "COMA": "COMA",
    "IQL": "IQL, team reward",
}
SEARCHED = ("cartpole", "nav", "sysadmin")
SIZES = [(n, cost) for n in (6, 50) for cost in (4, 5)]


def read(path: str) -> Any:
    return json.loads((ROOT / "results" / path).read_text())


def summary(experiment: str) -> Any:
    return read(f"{experiment}/summary.json")


def number(value: float) -> str:
    return f"{value:,.0f}".replace("-", "−")


def spread(values: Sequence[float]) -> str:
    return f"{number(fmean(values))} ({number(min(values))}–{number(max(values))})"


def worst(values: Sequence[float]) -> str:
    return f"{number(fmean(values))} ({number(min(values))})"


def solved(steps: Sequence[int | None]) -> str:
    return ", ".join("never" if step is None else f"{round(step / 1000)} K" for step in steps)


def compared(experiment: str, low: str, high: str) -> Iterator[str]:
    methods = summary(experiment)["methods"]
    for method, name in NAMES.items():
        found = methods[method]
        at = [solved(found["solved_at_env_steps"][threshold]) for threshold in (low, high)]
        yield (
            " | ".join([f"| {name}", spread(found["last"]), spread(found["best_checkpoint_on_fresh_episodes"]), *at])
            + " |"
        )


def searched() -> Iterator[str]:
    searches = [summary(f"tune_{env}") for env in SEARCHED]
    for method, name in NAMES.items():
        row = [f"| {name}"]
        for search in searches:
            chosen, tried = search[method]["chosen"], search[method]["tried"]
            rate, lam = (word.partition("=")[2] for word in chosen.split())
            row.append(f"{rate}, λ {lam} ({number(tried[chosen])}; worst {number(min(tried.values()))})")
        yield " | ".join(row) + " |"


def shares() -> dict[str, dict[tuple[int, float], list[float]]]:
    """Method → (machines, cost) → percent of the reference, κ = 1 on the true graph."""
    found: dict[str, dict[tuple[int, float], list[float]]] = {}
    for row in summary("dilemma")["results"]:
        if row["kappa"] == 1 and not row["permuted"]:
            share = [100 * x for x in row["share"]]
            found.setdefault(DILEMMA[row["method"]], {})[row["n_agents"], row["cost"]] = share
    return found


def sentence(found: dict[tuple[int, float], list[float]]) -> str:
    """What the page of a method says of it."""
    cells = [f"{worst(found[n, cost])} with {n} machines at cost {cost}" for n, cost in SIZES]
    return (
        "SysAdmin (`python train.py experiment=dilemma`), percent of the reference, mean and worst of "
        f"{len(found[SIZES[0]])} seeds: {', '.join(cells)}."
    )


def dilemma() -> Iterator[str]:
    found = shares()
    for name in DILEMMA.values():
        cells = [worst(found[name][size]) for size in SIZES]
        yield " | ".join([f"| {name}", *cells, str(len(found[name][SIZES[0]]))]) + " |"


def speeds() -> Iterator[str]:
    """Time of an env step relative to LOMAQ's, from the medians of all rounds."""
    rates = {words: median(rounds) for words, rounds in read("first/methods.json")["rows"].items()}
    for method, name in NAMES.items():
        ours = [(rates[f"env={env} algo=lomaq"], rates[f"env={env} algo={method}"]) for env in SEARCHED]
        yield f"| {name} | " + " | ".join(f"{lomaq / rate:.1f}" for lomaq, rate in ours) + " |"


def voltage() -> Iterator[str]:
    """Mean violation and return of rules, and of the last checkpoints with lowest and highest seed, on both feeders."""
    found = summary("voltage")
    names = {name: f"| {name} " if name == "central optimum" else f"| `{name}` " for name in found["baselines"]}
    for name, rule in found["baselines"].items():
        yield f"{names[name]}| {violation(rule['mean_violation'])} | {100 * rule['violated_share']:.1f} % |"
    for name, rule in found["larger_baselines"].items():
        yield f"{names[name]}| {violation(rule['mean_violation'])} | {100 * rule['violated_share']:.1f} % |"
    for method in found["methods"].values():
        for days in (method["last"], method["larger"]):
            low, high = (violation(pick(days["mean_violation"])) for pick in (min, max))
            share = 100 * median(days["violated_share"])
            yield f"| {method['label']} | {violation(median(days['mean_violation']))} ({low}–{high}) | {share:.1f} % |"


def violation(value: float) -> str:
    return f"{1e4 * value:.2f}" if value >= 1e-5 else f"{1e4 * value:.3f}"


BASELINES = {
    "cart-pole": lambda: compared("fig5_cartpole", "2000", "2900"),
    "navigation": lambda: compared("fig5_nav", "450", "500"),
    "search": searched,
    "speed": speeds,
    "dilemma": dilemma,
}


@pytest.mark.parametrize("table", BASELINES)
def test_a_table_of_the_comparisons_is_that_of_the_stored_results(table) -> None:
    text = (ROOT / "docs" / "baselines.md").read_text()
    assert [row for row in BASELINES[table]() if row not in text] == []


def test_the_tables_of_voltage_control_are_those_of_the_stored_results() -> None:
    text = (ROOT / "docs" / "voltage.md").read_text()
    assert [row for row in voltage() if row not in text] == []


@pytest.mark.parametrize("method", NAMES)
def test_the_page_of_a_method_has_the_rows_of_the_comparisons(method) -> None:
    text = (ROOT / "docs" / "algorithms" / f"{method}.md").read_text()
    for experiment, threshold in (("fig5_cartpole", "2900"), ("fig5_nav", "450")):
        found = summary(experiment)["methods"][method]
        at = f"{solved(found['solved_at_env_steps'][threshold])} ({int(threshold):,})"
        assert f"| {spread(found['last'])} | {spread(found['best_checkpoint_on_fresh_episodes'])} | {at} |" in text


@pytest.mark.parametrize("name", DILEMMA.values())
def test_the_page_of_a_method_has_its_share_of_the_dilemma(name) -> None:
    """LOMAQ's page has two: the paper's mixer, and the one with shared weights."""
    (method,) = [method for method, label in NAMES.items() if label == name.partition(", the p")[0].partition(", `")[0]]
    text = (ROOT / "docs" / "algorithms" / f"{method}.md").read_text()
    assert sentence(shares()[name]).partition("seeds: ")[2].rstrip(".") in " ".join(text.split())


@pytest.mark.parametrize("env", SEARCHED)
def test_the_search_counts_trained_networks_only(env) -> None:
    """Each mean is that of the stored tests after env step 0."""
    for method, found in summary(f"tune_{env}").items():
        for words, mean in found["tried"].items():
            folder = f"algo={method},{words.replace(' ', ',')},seed=100"
            stored = read(f"tune_{env}/{folder}/results.json")
            while "step_0" not in stored:  # environment, task, algorithm, seed
                (stored,) = stored.values()
            tests = [test for name, test in stored.items() if name.startswith("step_") and test["step_count"]]
            assert mean == pytest.approx(fmean(fmean(test["return"]) for test in tests)), folder


# --------------------------------------------------------------------- actor-critics


def between(mean: float, interval: Sequence[float]) -> str:
    return f"{number(mean)} ({number(interval[0])}–{number(interval[1])})"


def actor_critics(experiment: str) -> Iterator[str]:
    """The rows of docs/actor-critics.md."""
    for words, row in summary(experiment)["rows"].items():
        name = (
            words.replace("kappa=", "κ = ").replace("partition=", "").replace("mixer.weight_sharing", "weight_sharing")
        )
        cells = between(row["mean"], row["interval"]), between(row["mean_along"], row["interval_along"])
        yield f"| {name} | {' | '.join(cells)} |"


@pytest.mark.parametrize("experiment", ["ac_cartpole", "ac_nav", "ac_sysadmin"])
def test_the_page_of_the_actor_critics_has_what_the_stored_runs_gave(experiment) -> None:
    page = (ROOT / "docs" / "actor-critics.md").read_text()
    assert [row for row in actor_critics(experiment) if row not in page] == []


def test_the_page_of_the_actor_critics_has_what_the_searches_chose() -> None:
    page = (ROOT / "docs" / "actor-critics.md").read_text()
    for experiment in ("tune_ac_cartpole", "tune_ac_nav", "tune_ac_sysadmin"):
        search = summary(experiment)
        for name, found in ((name, search[name]) for name in search if name != "sha256"):
            lr, lam = (word.rpartition("=")[2] for word in found["chosen"].split())
            tried = found["tried"].values()
            row = f"{lr}, λ {lam} ({number(max(tried))}; worst {number(min(tried))})"
            assert any(f"`{name}`" in line and row in line for line in page.splitlines()), (experiment, name, row)


@pytest.mark.parametrize("name", ["ippo", "ippo_local", "khop_ppo", "mappo", "lomaq_ppo", "loc_facmac"])
def test_the_page_of_an_actor_critic_has_what_the_comparisons_gave(name) -> None:
    page = (ROOT / "docs" / "algorithms" / f"{name}.md").read_text()
    for experiment in ("ac_cartpole", "ac_nav", "ac_sysadmin"):
        rows = [row for row in summary(experiment)["rows"].values() if row["setting"]["algo"] == name]
        cells = [
            f"{between(r['mean'], r['interval'])} | {between(r['mean_along'], r['interval_along'])} |" for r in rows
        ]
        assert any(cell in page for cell in cells)


def test_the_page_of_the_actor_critics_has_what_voltage_control_gave() -> None:
    page = (ROOT / "docs" / "actor-critics.md").read_text()

    def cell(values: Sequence[float], scale: float, digits: int) -> str:
        shown = [f"{x * scale:.{digits}f}".replace("-", "−") for x in (median(values), min(values), max(values))]
        return shown[0] if len(values) == 1 else f"{shown[0]} ({shown[1]} to {shown[2]})"

    for experiment in ("voltage", "voltage_ac"):
        for found in summary(experiment)["methods"].values():
            cells = cell(found["last"]["return"], 1, 1), cell(found["last"]["mean_violation"], 1e4, 2)
            assert f"| {found['label']} | {len(found['seeds'])} | {' | '.join(cells)} |" in page


COSTS = ("2", "3", "4", "5", "6")


def shared() -> Iterator[str]:
    """Rows of the study of shared rewards: by cost on rings, grids and Barabási–Albert graphs, then all others."""
    by_cost: dict[tuple[str, str, int], dict[str, Any]] = {}
    for row in summary("sharing")["rows"]:
        found = re.fullmatch(r"(ring|grid|barabasi_albert) of (\d+), cost (\d)", row["task"])
        first_budget = row["env_steps"] == {"6": 200_000, "50": 50_000, "200": 12_500}.get(found[2] if found else "")
        if (
            found
            and first_budget
            and row["method"] in ("LOMAQ, learned W", "LOMAQ, W = I", "LOMAQ, weight_sharing=1", "local VDN")
        ):
            by_cost.setdefault((found[1], row["method"], int(found[2])), {})[found[3]] = row
        else:
            yield alone(row)
    for (graph, method, machines), rows in by_cost.items():
        if len(rows) > 1 or machines == 50:
            yield f"| {graph} | {machines} | {method} | {' | '.join(percent(rows.get(cost)) for cost in COSTS)} |"
        else:
            yield from map(alone, rows.values())


def percent(row: dict[str, Any] | None) -> str:
    """Interquartile mean in percent of the reference, the worst seed and how many there are."""
    if row is None:
        return "–"
    mean, worst = (
        f"{100 * value / row['reference']:.0f}".replace("-", "−") for value in (row["iqm"], min(row["returns"]))
    )
    return f"{mean} ({worst}; {len(row['seeds'])})"


def alone(row: dict[str, Any]) -> str:
    unit = row["reference"] / 100 if row["reference"] is not None and row["reference"] > 0 else 1.0
    digits = 0 if unit == 1 and abs(row["iqm"]) > 100 else 1
    low, high, mean, least = (
        f"{value / unit:,.{digits}f}".replace("-", "−") for value in (*row["interval"], row["iqm"], min(row["returns"]))
    )
    about = f"{row['task']} | {row['method']} | {row['env_steps']:,} | {len(row['seeds'])}"
    return f"| {about} | {mean} ({low} to {high}) | {least} |"


def test_the_page_of_shared_rewards_has_what_the_study_gave() -> None:
    text = (ROOT / "docs" / "sharing.md").read_text()
    assert [row for row in shared() if row not in text] == []


def theorem1() -> Iterator[str]:
    found = summary("theorem1")
    for row in found["rows"]:
        regret = {key: number(value) for key, value in row["regret"].items()}
        size = {"singletons": 1, "pairs": 2}.get(row["partition"], 3)
        cells = (
            "{mean} ({low}–{high})".format(**regret),
            f"{row['slope_in_tail']:.2f}",
            f"{100 * row['of_uniform_arms']:.0f} %",
        )
        yield f"| {row['arms']} | {size} | {row['K_P']} | {' | '.join(cells)} |"
    for arms, growth in found["growth"].items():
        yield "K = {}: {slope:.2f} ({low:.2f} to {high:.2f})".format(arms, **growth)


def test_the_page_of_the_bandit_has_how_regret_grew() -> None:
    text = (ROOT / "docs" / "bandit.md").read_text()
    assert [row for row in theorem1() if row not in text] == []


# ------------------------------------------------------------------ the generated page


def test_writing_the_page_of_results_anew_changes_nothing(results) -> None:
    assert (ROOT / "docs" / "results.md").read_text() == results.page()


def test_writing_the_table_of_the_readme_anew_changes_nothing(results) -> None:
    text = (ROOT / "README.md").read_text()
    assert text.index(results.BEGIN) < text.index(results.END)
    assert text == results.readme()


@pytest.mark.parametrize(
    "folder", [file.parent for file in sorted(ROOT.glob("results/*/table.md"))], ids=lambda place: place.name
)
def test_a_table_of_the_common_report_is_that_of_its_rows_and_on_the_page_of_results(folder: Path) -> None:
    shown = table(read(f"{folder.name}/summary.json")["rows"])
    assert (folder / "table.md").read_text() == shown
    text = (ROOT / "docs" / "results.md").read_text()
    assert f'<a id="{folder.name}"></a>' in text
    assert [line for line in shown.splitlines() if line not in text] == []


def stored(folder: Path, study: str, reference: float | None, **returns: list[float]) -> None:
    """A study of the common report: the first method is the one that others are compared with."""
    rows = [
        {"task": study, "method": method, "env_steps": 1000, "seeds": [0, 1, 2], "returns": values, "iqm": values[1]}
        | {"interval": [values[0], values[2]], "along": None, "absolute": None, "reached": {}, "better": None}
        | {"reference": reference}
        for method, values in returns.items()
    ]
    (folder / study).mkdir()
    (folder / study / "summary.json").write_text(json.dumps({"rows": rows}))


def test_the_table_of_the_readme_has_a_column_for_each_comparison_once_all_are_stored(
    results, monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(results, "METHODS", {"fig5_nav": "navigation", "methods_sysadmin": "dilemma"})
    stored(tmp_path, "fig5_nav", None, VDN=[1, 2, 3], LOMAQ=[300, 310, 320], IQL=[290, 295, 305])
    assert results.methods_table() is None
    stored(tmp_path, "methods_sysadmin", 50, LOMAQ=[-25, 30, 40], VDN=[49, 50, 50])
    assert results.methods_table().splitlines() == [
        "Interquartile mean of the last test (95 % interval), 3 seeds; env steps: navigation 1,000, dilemma 1,000.",
        "",
        "| method | [navigation](docs/results.md#fig5_nav), return | [dilemma](docs/results.md#methods_sysadmin), % |",
        "|---|---|---|",
        "| LOMAQ | 310 (300 to 320) | 60 (−50 to 80) |",
        "| IQL | 295 (290 to 305) | – |",
        "| VDN | 2 (1 to 3) | 100 (98 to 100) |",
        "",
        "- Navigation: highest mean LOMAQ, 310.0 (300.0 to 320.0); intervals that meet this: IQL.",
        "- Dilemma: highest mean VDN, 100.0 (98.0 to 100.0); no other interval meets this.",
    ]


def test_a_study_has_a_section_as_soon_as_it_is_stored(results, monkeypatch, tmp_path) -> None:
    for folder in (ROOT / "results").iterdir():
        (tmp_path / folder.name).symlink_to(folder)
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    studies = ("fig5_cartpole", "fig5_nav", "methods_sysadmin", "methods_voltage", "fig5_paper", "sensitivity")
    for study in (*studies, "scaling", "wrong_graph", "cognac", "soft"):
        (tmp_path / study).unlink(missing_ok=True)
        assert f'<a id="{study}"></a>' not in results.page()
        stored(tmp_path, study, None, LOMAQ=[300, 310, 320])
        assert f'<a id="{study}"></a>' in results.page()
        assert f"- {study}, 1,000 env steps: highest mean LOMAQ, 310.0 (300.0 to 320.0)" in results.page()
    for study in ("nav_budgets", "fig6", "fig8", "fig9", "theorem1", "dilemma", "sharing", "voltage", "sumo", "bandit"):
        (tmp_path / study).unlink()
        assert f'<a id="{study}"></a>' not in results.page()


def test_the_searches_are_shown_where_one_rate_is_what_they_chose(results, monkeypatch, tmp_path) -> None:
    for folder in (ROOT / "results").iterdir():
        if not folder.name.startswith("tune_"):
            (tmp_path / folder.name).symlink_to(folder)
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    assert '<a id="tune"></a>' not in results.page()
    for env, best in (("nav", 400.0), ("voltage", -30.0)):
        (tmp_path / f"tune_{env}").mkdir()
        tried = {"learner.lr=0.01": best, "learner.lr=0.03": best - 100}
        found = {"lomaq": {"chosen": "learner.lr=0.01", "tried": tried}, "sha256": "…"}
        (tmp_path / f"tune_{env}" / "summary.json").write_text(json.dumps(found))
    assert (
        "| `algo=` | navigation | voltage control |\n|---|---|---|\n"
        "| lomaq | 0.01 (400.0; worst 300.0) | 0.01 (−30.0; worst −130.0) |\n"
    ) in results.page()
