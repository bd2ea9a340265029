"""Endings of the names of files that hold a graph."""

TABLES = (".csv", ".tsv", ".txt", ".edges", ".edgelist")
METIS = (".graph", ".metis")
#: Endings of the files that are read; each may have ``.gz`` behind it.
ENDINGS = (".graphml", ".gexf", ".gml", ".json", *METIS, *TABLES)
