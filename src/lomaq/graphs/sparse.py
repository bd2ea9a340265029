"""Sparse matrices for message passing."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor


def csr_matrix(rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """A CSR tensor for products ``matrix @ dense``; entries that are named twice are added.

    Args:
        rows: ``[E]`` int64.
        columns: ``[E]`` int64.
        values: ``[E]`` float32.
        shape: Rows and columns of the matrix.
    """
    with torch.sparse.check_sparse_tensor_invariants(True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_coo_tensor(torch.stack([rows, columns]), values, shape).coalesce().to_sparse_csr()
