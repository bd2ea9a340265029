"""Everything that is drawn: curves, graphs, films, certificates."""
