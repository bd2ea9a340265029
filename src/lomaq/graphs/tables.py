"""Edge lists and adjacency matrices in text files, told apart by header and shape."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from lomaq.errors import InputError

#: What the two columns of an edge may be called.
ENDS = (
    ("source", "target"),
    ("from", "to"),
    ("origin", "destination"),
    ("src", "dst"),
    ("start", "end"),
    ("tail", "head"),
    ("node1", "node2"),
    ("node_1", "node_2"),
    ("agent1", "agent2"),
    ("u", "v"),
    ("i", "j"),
)
#: What a column of weights, or the weight of a networkx edge, may be called; the first that is there counts.
WEIGHTS = ("weight", "weights", "w", "value", "cost", "length", "distance", "capacity")
DELIMITERS = (";", "\t", ",", "|")
COMMENTS = ("#", "%", "//")
Rows = list[tuple[int, list[str]]]


def read_table(text: str) -> dict[str, Any]:
    """Content of an edge list or an adjacency matrix.

    A square table of more than two rows of numbers is a matrix; of three rows only if it is symmetric with zeros on the
    diagonal, for else it is an edge list with weights. Names of the rows and columns may stand around it.

    Args:
        text: One edge or one row of the matrix a line; columns apart by ; tab , | or blanks.

    Returns:
        See :mod:`lomaq.graphs.files`.

    Raises:
        InputError: If it is neither.
    """
    if text.startswith("%%MatrixMarket"):
        raise InputError("edges", "one pair of agents a line", "a Matrix Market file", "write it as an edge list")
    if "\0" in text:
        raise InputError("edges", "text", "bytes that are none")
    rows = _rows(text)
    if not rows:
        raise InputError("edges", "one pair of agents a line", "an empty file")
    return read_rows(rows)


def read_rows(rows: Rows) -> dict[str, Any]:
    """As :func:`read_table`, of the cells of each line."""
    return _matrix([cells for _, cells in rows]) or _edges(rows)


def weight_column(names: Collection[str]) -> str | None:
    """Which of the names is that of weights, if any."""
    return next((name for name in WEIGHTS if name in names), None)


def weights_of(values: Sequence[Any]) -> list[float] | None:
    """As numbers, 1 where there is none; None where one is something else."""
    try:
        return [1.0 if value in (None, "") else float(value) for value in values]
    except (TypeError, ValueError, OverflowError):
        return None


def _rows(text: str) -> Rows:
    """Number and cells of each line that has any."""
    lines = [(i, line.strip(" \r")) for i, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1)]
    lines = [(i, line) for i, line in lines if line.strip() and not line.lstrip().startswith(COMMENTS)]
    delimiter = next((sign for sign in DELIMITERS if all(sign in line for _, line in lines)), None)
    if delimiter is None:  # blanks; networkx puts what it knows of an edge after it, in braces
        return [(i, line.split(" #")[0].split("{")[0].split()) for i, line in lines]
    try:
        rows = [(i, next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))) for i, line in lines]
    except csv.Error as error:
        raise InputError("edges", "one pair of agents a line", str(error)) from error
    rows = [(i, [cell.strip() for cell in cells]) for i, cells in rows]
    while rows and all(len(cells) > 2 and cells[-1] == "" for _, cells in rows):
        rows = [(i, cells[:-1]) for i, cells in rows]
    return rows


# ----------------------------------------------------------------------- matrix


def _matrix(rows: list[list[str]]) -> dict[str, Any] | None:
    """Content of an adjacency matrix, None where the table has not the shape of one."""
    first, body = rows[0], rows[1:]
    n, labels, values = len(body), list[str](), _square(rows)
    if values is not None:
        if n == 1 or (n == 2 and ((values != values.T).any() or values.diagonal().any())):
            return None
    elif n > 2 and len(first) == n and _numbers([first]) is None:
        labels, values = first, _square(body)
    if values is None and n > 1:
        labels = first if len(first) == n else first[1:]
        values = _square([row[1:] for row in body]) if [row[0] for row in body] == labels else None
    if values is None:
        return None
    if not np.isfinite(values).all():
        raise InputError("adjacency matrix", "finite numbers", "others")
    symmetric = bool((values == values.T).all())
    pairs = np.argwhere(np.triu(values) if symmetric else values)
    content: dict[str, Any] = {"n_agents": len(values), "edges": pairs, "directed": not symmetric}
    content["remarks"] = ["read as an adjacency matrix"]
    if not np.isin(values, (0, 1)).all():
        content["edge_weight"] = values[tuple(pairs.T)]
    if labels:
        if len(set(labels)) < len(labels):
            raise InputError("adjacency matrix", "names that differ", labels[:5])
        content["names"] = labels
    return content


def _square(rows: list[list[str]]) -> np.ndarray | None:
    """A table of numbers with as many columns as rows, at least two, else None."""
    return _numbers(rows) if len(rows) > 1 and all(len(row) == len(rows) for row in rows) else None


def _numbers(rows: list[list[str]]) -> np.ndarray | None:
    """The table as numbers, None where it holds something else."""
    try:
        return np.array([[float(cell) for cell in row] for row in rows])
    except ValueError:
        return None


# ------------------------------------------------------------------------ edges


def _edges(rows: Rows) -> dict[str, Any]:
    """Content of an edge list, with or without a header."""
    first = rows[0][1]
    head = [cell.lower() for cell in first]
    columns = _columns(head, rows)
    width, place = len(head), 2
    if columns is None:
        columns, spare = (0, 1), "third column ignored"
        if not 2 <= width <= 3:
            remedy = "give a square table for a matrix, or name two columns source and target"
            raise InputError(
                f"line {rows[0][0]}", "two agents, and perhaps a weight", f"{width} column{'s' * (width != 1)}", remedy
            )
    else:
        rows, spare, named = rows[1:], "other columns ignored", weight_column(head)
        place = width if named is None else head.index(named)
    for i, cells in rows:
        if len(cells) != width:
            raise InputError(f"line {i}", f"{width} columns, as in the first line", len(cells))
    ends = [cells[column] for _, cells in rows for column in columns]
    if "" in ends:
        raise InputError(f"line {rows[ends.index('') // 2][0]}", "two agents", "an empty cell")
    if not ends:
        raise InputError("edges", "one pair of agents a line", "a header alone")
    numbers, names, told = _agents(ends, [i for i, _ in rows])
    if rows[0][1] == first and names and len(rows) > 2 and not {*ends[:2]} & {*ends[2:]} and _id(ends[0]) is None:
        told.append(f"the first line is an edge of {' and '.join(ends[:2])}; a header names source and target")
    content: dict[str, Any] = {"n_agents": len(names) or int(numbers.max()) + 1, "edges": numbers.reshape(-1, 2)}
    weights = weights_of([cells[place] for _, cells in rows]) if place < width else None
    content |= {"directed": None, "remarks": [spare] * (width > 2 + (weights is not None)) + told}
    content |= {} if weights is None else {"edge_weight": weights}
    return {**content, "names": names} if names else content


def _columns(head: list[str], rows: Rows) -> tuple[int, int] | None:
    """The columns of the two agents where the first line is a header, else None."""
    for pair in ENDS:
        if pair[0] in head and pair[1] in head:
            columns = head.index(pair[0]), head.index(pair[1])
            inside = {cells[column].lower() for _, cells in rows[1:] for column in columns if column < len(cells)}
            if inside.isdisjoint(pair):  # else it is an edge between agents of these names
                return columns
    below = [cell for _, cells in rows[1:] for cell in cells[:2]]
    if (
        len(rows) == 1
        or len(head) < 2
        or isinstance(_id(head[0]), int)
        or not all(isinstance(_id(c), int) for c in below)
    ):
        return None
    if len(head) == 2 or (len(head) == 3 and head[2] in WEIGHTS):
        return 0, 1
    raise InputError("header", "columns named source and target", ", ".join(head[:6]), "name two columns so")


def _agents(ends: list[str], lines: Sequence[int]) -> tuple[np.ndarray, list[str], list[str]]:
    """Number of each agent, the names of all agents where they are not their numbers, and what to say about it.

    Whole numbers are numbered in rising order, names in order of appearance.
    """
    ids = [_id(end) for end in ends]
    broken = [i for i, one in enumerate(ids) if isinstance(one, float)]
    if broken and all(one is not None for one in ids):
        where = f"line {lines[broken[0] // 2]}"
        raise InputError(where, "agents as whole numbers or names", ends[broken[0]])
    if broken or None in ids:
        order: dict[Any, int] = {name: i for i, name in enumerate(dict.fromkeys(ends))}
        return np.array([order[end] for end in ends]), [str(name) for name in order], []
    known = sorted({one for one in ids if one is not None})
    order = {one: i for i, one in enumerate(known)}
    numbers = np.array([order[one] for one in ids])
    if known[0] == 0 and known[-1] == len(known) - 1:
        return numbers, [], []
    told = f"numbers {known[0]} … {known[-1]} are agents 0 … {len(known) - 1}"
    return numbers, [str(one) for one in known], [told]


def _id(cell: str) -> int | float | None:
    """A whole number, any other number, or None for a name."""
    if not cell.isascii() or len(cell) > 40 or "_" in cell:
        return None
    try:
        return int(cell)
    except ValueError:
        pass
    try:
        value = float(cell)
    except ValueError:
        return None
    return int(value) if math.isfinite(value) and value.is_integer() and abs(value) < 2**53 else value
