"""Studies: every method × task × seed over the same priors, resumable, in parallel processes."""

from reincarnate.studies.matrix import Cell, Study, read_study
from reincarnate.studies.runner import run_study

__all__ = ["Cell", "Study", "read_study", "run_study"]
