"""Graph files of METIS and of the partitioners and collections that took over its form."""

from __future__ import annotations

from typing import Any

from lomaq.errors import InputError


def read_metis(text: str) -> dict[str, Any]:
    """Content of a METIS graph file.

    The first line holds the number of nodes, of edges, and perhaps a format of three digits and the number of weights
    of a node; then each line lists the neighbours of one node, which are numbered from 1, so that each edge stands in
    two lines. The format says whether sizes of nodes, weights of nodes and weights of edges stand there, too. Lines
    that begin with ``%`` do not count.

    Returns:
        See :mod:`lomaq.graphs.files`.

    Raises:
        InputError: If it is none.
    """
    lines = [(i, line.split()) for i, line in enumerate(text.split("\n"), 1) if not line.lstrip().startswith("%")]
    start = next((k for k, (_, cells) in enumerate(lines) if cells), len(lines))
    if start == len(lines):
        raise InputError("METIS", "the numbers of nodes and edges", "an empty file")
    n, m, sizes, n_weights, weighted = _header(*lines[start])
    rows = lines[start + 1 :]
    while len(rows) > n and not rows[-1][1]:
        rows.pop()
    if len(rows) != n:
        raise InputError("METIS", f"a line for each of the {n:,} nodes", f"{len(rows):,} lines")
    edges, weights, step = list[tuple[int, int]](), list[float](), 1 + weighted
    for node, (i, cells) in enumerate(rows):
        found = cells[sizes + n_weights :]
        if len(cells) < sizes + n_weights or len(found) % step:
            expected = "the weights that the first line announces" + ", one behind each neighbour" * weighted
            raise InputError(f"line {i}", expected, " ".join(cells[:9])[:50])
        edges += [(node, _node(i, cell, n)) for cell in found[::step]]
        weights += [_weight(i, cell) for cell in found[1::step]] if weighted else []
    if len(edges) != 2 * m:
        raise InputError("METIS", f"each of {m:,} edges at both its ends, {2 * m:,} neighbours", f"{len(edges):,}")
    remarks = ["sizes and weights of nodes ignored"] * (sizes + n_weights > 0)
    remarks.append(f"numbers 1 … {n} are agents 0 … {n - 1}")
    content = {"n_agents": n, "edges": edges, "directed": True, "remarks": remarks}
    content["names"] = [str(number) for number in range(1, n + 1)]
    return {**content, "edge_weight": weights} if weighted else content


def _header(i: int, cells: list[str]) -> tuple[int, int, int, int, bool]:
    """Nodes, edges, sizes (0 or 1) and weights of a node in its line, and whether edges have weights."""
    form = cells[2].zfill(3) if len(cells) > 2 else "000"
    if not 2 <= len(cells) <= 4 or not all(cell.isdecimal() and len(cell) < 19 for cell in cells) or {*form} - {*"01"}:
        expected = "numbers of nodes and edges, and perhaps a format such as 011 and a number of weights"
        raise InputError(f"line {i}", expected, " ".join(cells)[:50])
    n_weights = int(cells[3]) if len(cells) > 3 else 1
    return int(cells[0]), int(cells[1]), int(form[-3]), n_weights * int(form[-2]), form[-1] == "1"


def _node(i: int, cell: str, n: int) -> int:
    """Its number from 0."""
    if not cell.isdecimal() or len(cell) > 18 or not 1 <= int(cell) <= n:
        raise InputError(f"line {i}", f"neighbours 1 … {n}", repr(cell[:50]))
    return int(cell) - 1


def _weight(i: int, cell: str) -> float:
    try:
        return float(cell)
    except ValueError as error:
        raise InputError(f"line {i}", "weights that are numbers", repr(cell[:50])) from error
