"""One self-contained page about a study, with its figures and tables as files beside it."""

from analysis.report.page import write

__all__ = ["write"]
