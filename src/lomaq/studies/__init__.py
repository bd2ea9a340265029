"""Experiments of several runs, each with its figure: what ``experiment=`` names."""
