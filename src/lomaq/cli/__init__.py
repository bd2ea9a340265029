"""The command line."""

from lomaq.cli.main import evaluate_main, main, train_main

__all__ = ["evaluate_main", "main", "train_main"]
