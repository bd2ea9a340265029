"""The agents' graph and what follows from it alone: files, partitions, ego classes, sparse helpers."""

import warnings

with warnings.catch_warnings():  # tqdm, which PyG imports, asks for ipywidgets in notebooks; nothing here needs them
    warnings.filterwarnings("ignore", message="IProgress not found")
    import torch_geometric  # noqa: F401

from lomaq.graphs.ego import EgoClasses, Neighbourhoods, ego_classes, few_ego_classes, neighbourhoods
from lomaq.graphs.graph import AgentGraph, RegionShape
from lomaq.graphs.kept import read_bytes
from lomaq.graphs.partition import Partition
from lomaq.graphs.sparse import csr_matrix

__all__ = [
    "AgentGraph",
    "EgoClasses",
    "Neighbourhoods",
    "Partition",
    "RegionShape",
    "csr_matrix",
    "ego_classes",
    "few_ego_classes",
    "neighbourhoods",
    "read_bytes",
]
