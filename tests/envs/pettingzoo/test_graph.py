"""Who depends on whom: named, given by a function, near, discovered."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from lomaq.envs.pettingzoo.spec import Edges
from lomaq.errors import InputError
from lomaq.graphs import AgentGraph
from lomaq.graphs.kept import keeping

pytest.importorskip("gymnasium")


def test_all_pairs_are_joined_where_nothing_is_said(zoo, edges_of) -> None:
    assert edges_of(zoo("trio").graph) == [(0, 1), (0, 2), (1, 2)]


def test_builders_and_files_are_taken_by_name(zoo, edges_of, tmp_path) -> None:
    assert edges_of(zoo("trio", {"graph": "line"}).graph) == [(0, 1), (1, 2)]
    AgentGraph.from_edges(3, [(0, 2)]).to_file(tmp_path / "mine.json")
    assert edges_of(zoo("trio", {"graph": str(tmp_path / "mine.json")}).graph) == [(0, 2)]
    AgentGraph.line(4).to_file(tmp_path / "four.json")
    with pytest.raises(InputError, match="n_agents: expected null or the 4"):
        zoo("trio", {"graph": str(tmp_path / "four.json")})


def test_a_function_gets_the_environment_and_directions_and_weights_are_told_of(zoo, edges_of) -> None:
    chain = zoo("row", {"graph": "zoo_games:chain"}, n=3).graph
    assert edges_of(chain) == [(0, 1), (1, 2)]
    assert "directed edges taken as undirected" in chain.note
    assert chain.pair_weight.tolist() == [0.5, 0.5]
    assert edges_of(zoo("trio", {"graph": "zoo_games:pairs"}).graph) == [(0, 2), (1, 2)]


def test_near_agents_are_joined_by_distance_or_number(zoo, edges_of) -> None:
    args = {"n": 4, "positions": [[0, 0], [1, 0], [2, 0], [9, 0]]}
    near = zoo("row", {"graph": "positions", "radius": 1.5}, **args).graph
    assert edges_of(near) == [(0, 1), (1, 2)]
    assert near.pos.tolist() == args["positions"]
    assert edges_of(zoo("row", {"graph": "positions", "neighbours": 1}, **args).graph) == [(0, 1), (1, 2), (2, 3)]
    with pytest.raises(InputError, match=r"env\.radius=DISTANCE or env\.neighbours=NUMBER, got neither"):
        zoo("row", {"graph": "positions"}, **args)


def test_a_graph_that_depends_on_the_seed_is_refused(zoo) -> None:
    remedy = (
        r"another one after reset\(seed=1\); draw it from an argument of the factory, such as env\.args\.graph_seed"
    )
    with pytest.raises(InputError, match=remedy):
        zoo("row", {"graph": "zoo_games:drawn"}, n=3)
    with pytest.raises(InputError, match="positions that are the same in every episode"):
        zoo("row", {"graph": "positions", "radius": 1.0}, n=4, positions="drawn")
    assert zoo("row", n=4, positions="drawn").graph.n_edges == 6  # where nothing is made of them


def test_a_discovered_graph_is_that_of_the_influence_and_kept_with_a_run(zoo, edges_of) -> None:
    kept: dict[str, str] = {}
    with keeping(kept):
        assert edges_of(zoo("row", {"graph": "discovered"}, n=4).graph) == [(0, 1), (1, 2), (2, 3)]
    assert set(kept) == {"discovered.json"}
    with keeping(kept):  # read, not measured: the environment is another one
        assert edges_of(zoo("row", {"graph": "discovered"}, n=4, noise=1.0).graph) == [(0, 1), (1, 2), (2, 3)]
    with keeping(kept), pytest.raises(InputError, match="a graph of the 5 agents"):
        zoo("row", {"graph": "discovered"}, n=5)


@pytest.mark.parametrize(
    ("graph", "edges"),
    [
        ([("a", "b"), ("b", "c")], Edges([(0, 1, 1.0), (1, 2, 1.0)])),
        ([[0, 2]], Edges([(0, 2, 1.0)])),
        (nx.Graph([("a", "c")]), Edges([(0, 2, 1.0)])),
        (nx.DiGraph([("c", "a")]), Edges([(2, 0, 1.0)], directed=True)),
        (np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]), Edges([(0, 1, 1.0)])),
        ([[0, 2, 0], [0, 0, 0], [0, 0, 0]], Edges([(0, 1, 2.0)], directed=True)),
    ],
)
def test_graphs_of_all_kinds_become_plain_edges(graph, edges) -> None:
    from lomaq.envs.pettingzoo.look import plain_graph

    assert plain_graph(graph, ["a", "b", "c"]) == edges


def test_edges_of_strangers_are_refused() -> None:
    from lomaq.envs.pettingzoo.look import plain_graph
    from lomaq.envs.pettingzoo.spec import Refused

    with pytest.raises(Refused, match="an edge from 'a' to 'z'"):
        plain_graph([("a", "z")], ["a", "b", "c"])
