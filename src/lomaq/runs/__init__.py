"""What a run folder is: its files, and reading them back."""

from lomaq.runs.curve import Curve
from lomaq.runs.files import Evaluation, RunFiles
from lomaq.runs.record import RunRecord, find_runs, is_run, names_of, read_run

__all__ = ["Curve", "Evaluation", "RunFiles", "RunRecord", "find_runs", "is_run", "names_of", "read_run"]
