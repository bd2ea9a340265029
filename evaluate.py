"""Evaluate: python evaluate.py checkpoint=runs/<run> episodes=100."""

from lomaq.cli import evaluate_main

if __name__ == "__main__":
    evaluate_main()
