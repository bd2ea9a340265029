"""Machines that several files of tests look at."""

import pytest
import torch

from lomaq.graphs import AgentGraph


@pytest.fixture
def two_types(tmp_path):
    """A file of a ring of ten whose even machines are of type 0 and the odd ones of type 1."""
    edges = [(i, (i + 1) % 10) for i in range(10)]
    AgentGraph.from_edges(10, edges, agent_type=[0, 1] * 5).to_file(tmp_path / "two.json")
    return str(tmp_path / "two.json")


@pytest.fixture
def put():
    """Brings all environments into the states ``up`` as a checkpoint would: put(env, up)."""

    def put(env, up):
        env.load_state_dict({**env.state_dict(), "up": torch.tensor(up, dtype=torch.bool)})

    return put
