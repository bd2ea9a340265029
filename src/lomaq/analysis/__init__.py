"""What a run leaves behind, and how it is drawn."""

from lomaq.analysis.plots import draw_curve
from lomaq.analysis.results import Evaluation, RunFiles

__all__ = ["Evaluation", "RunFiles", "draw_curve"]
