"""Studies: every method × task × seed over the same priors, resumable, on this machine or a cluster."""

from reincarnate.studies.executors import Executor, LocalProcesses
from reincarnate.studies.matrix import Cell, Study, read_study
from reincarnate.studies.overview import report_study
from reincarnate.studies.runner import run_study

__all__ = ["Cell", "Executor", "LocalProcesses", "Study", "read_study", "report_study", "run_study"]
